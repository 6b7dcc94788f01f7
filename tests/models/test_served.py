"""The whole of it as a user meets it: `octavo serve` as a process, real clients, the real model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

QUESTION = [{"role": "user", "content": "What is gravity?"}]


@dataclass
class Served:
    url: str
    process: subprocess.Popen
    model: str

    def request(self, path: str, body: object | None = None) -> tuple[int, dict]:
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(call) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def served(smollm2) -> Iterator[Served]:
    """A server on a free port; stopped by SIGTERM, upon which it must end well."""
    command = [sys.executable, "-m", "octavo", "serve", str(smollm2), "--port", "0", "--max-model-len", "1024", "--log-stats-s", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = []
    for line in process.stderr:
        log.append(line)
        if found := re.search(r"http://[\d.]+:\d+", line):
            break
    else:
        pytest.fail(f"the server ended with {process.wait()}: {''.join(log)}")
    threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop it
    yield Served(found[0], process, smollm2.stem)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.fixture
def client(served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def test_openai_client_whole_and_streamed_agree(client, served):
    settings = {"model": served.model, "messages": QUESTION, "temperature": 0, "max_tokens": 48}
    whole = client.chat.completions.create(**settings)
    text = whole.choices[0].message.content
    assert "force" in text or "mass" in text
    chunks = list(client.chat.completions.create(**settings, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens >= 16, "the second prompt comes from the prefix cache"


def test_seeded_draws_repeat_and_choices_differ(client, served):
    settings = {"model": served.model, "prompt": "Once upon a time", "temperature": 1.0, "seed": 7, "n": 3, "max_tokens": 24}
    first, second = (client.completions.create(**settings) for _ in range(2))
    assert [choice.text for choice in first.choices] == [choice.text for choice in second.choices]
    assert len({choice.text for choice in first.choices}) == 3


def test_logprobs_of_prompt_and_output(client, served):
    reply = client.completions.create(
        model=served.model, prompt="The capital of France is", temperature=0, max_tokens=2, logprobs=3, echo=True
    )
    logprobs = reply.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs)
    assert "".join(logprobs.tokens) == reply.choices[0].text
    assert logprobs.token_logprobs[0] is None
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])
    assert all(
        max(top.values()) >= value - 1e-6 for top, value in zip(logprobs.top_logprobs[-2:], logprobs.token_logprobs[-2:], strict=True)
    )


def test_stop_string_across_tokens(client, served):
    reply = client.completions.create(model=served.model, prompt="1, 2, 3, 4, 5,", temperature=0, max_tokens=32, stop=["8, 9"])
    assert reply.choices[0].finish_reason == "stop"
    assert reply.choices[0].text.rstrip().endswith("7,")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_sees_events(served):
    body = json.dumps({"model": served.model, "messages": QUESTION, "max_tokens": 5, "stream": True})
    command = ["curl", "-sN", f"{served.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert output.count("data: ") >= 5
    assert output.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "word " * 2000}, "prompt"),
        ({"prompt": "hi", "max_tokens": 5000}, "max_tokens"),
        ({"prompt": "hi", "temperature": -1}, "temperature"),
        ({"prompt": "hi", "n": 0}, "n"),
    ],
)
def test_what_cannot_be_served_is_refused_and_the_server_lives(served, body, param):
    status, reply = served.request("/v1/completions", {"model": served.model, **body})
    assert status == 400, reply
    assert reply["error"]["param"] == param
    assert served.request("/health")[0] == 200


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc here")
def test_the_server_loads_neither_torch_nor_transformers(served):
    maps = Path(f"/proc/{served.process.pid}/maps").read_text()
    assert "_kernels" in maps
    assert "libtorch" not in maps
    modules = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, octavo.assemble, octavo.server.serve; print('torch' in sys.modules, 'transformers' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        env=os.environ,
        check=True,
    ).stdout
    assert modules == "False False\n"


def test_a_script_that_ends_in_the_middle_of_a_step_ends_in_silence(smollm2):
    code = f"""
import threading, time
from octavo import LLM, SamplingParams
llm = LLM({str(smollm2)!r}, kv_cache_bytes=64 << 20, max_model_len=1024, threads=2)
threading.Thread(target=lambda: llm.generate("a" * 500, SamplingParams(max_tokens=500, ignore_eos=True)), daemon=True).start()
while not llm.engine.stats().generation_tokens: time.sleep(0.001)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
