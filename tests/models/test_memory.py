"""What a process that serves the default model keeps in memory besides its KV cache."""

from __future__ import annotations

import subprocess
import sys

MOST_MIB = 250
KV_MIB = 48
SERVE = f"""
import octavo.server.serve
from pathlib import Path
from octavo import LLM, SamplingParams
prompts = [[1000 + index] * 100 for index in range(32)]
with LLM("", kv_cache_bytes={KV_MIB} << 20, max_model_len=1024, threads=2) as llm:
    llm.generate(prompts, SamplingParams(max_tokens=2, ignore_eos=True))
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024)
"""


def test_the_most_memory_ever_resident(smollm2):
    done = subprocess.run([sys.executable, "-c", SERVE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MOST_MIB + KV_MIB
