"""A fault of a GPU: requests end with a message that names the step, and the process with a code that a supervisor sees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from fakes.tiny_models import tiny_checkpoint

pytestmark = pytest.mark.gpu

# A server whose second request has keys and values written far outside of the KV cache.
SERVER = """
import sys
from dataclasses import replace
from octavo.cli.main import main
from octavo.runner.cuda_executor import CudaExecutor

launch = CudaExecutor.launch

def wild(self, plan):
    if plan.started and plan.step_id >= 1:
        plan = replace(plan, new_block_ids=[[[block + (1 << 26) for block in blocks] for blocks in group] for group in plan.new_block_ids])
    launch(self, plan)

CudaExecutor.launch = wild
sys.exit(main(["serve", *sys.argv[1:]]))
"""


def complete(port: int) -> dict:
    body = {"model": "tiny", "prompt": [5, 6, 7], "max_tokens": 1}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def test_an_illegal_address_ends_the_process(tmp_path):
    tiny_checkpoint("llama", tmp_path)
    flags = ["--device", "cuda", "--load-format", "dummy", "--port", "0", "--served-model-name", "tiny", "--kv-cache-bytes", str(32 << 20)]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path), *flags], stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    )
    try:
        port = _port_of(server)
        assert "choices" in complete(port)
        answer = json.dumps(complete(port))
        log, _ = server.communicate(timeout=60)
    finally:
        server.kill()
    assert "step " in answer and "illegal" in answer, answer
    assert server.returncode == 1, log
    assert "DeviceLostError: step" in log


def _port_of(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"is served at http://[^ ]*:(\d+)", line):
            return int(found[1])
    raise AssertionError("the server did not start")
