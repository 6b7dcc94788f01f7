"""What a process that serves the default model keeps in memory besides its KV cache."""

from __future__ import annotations

import subprocess
import sys

from make_tiny_checkpoint import make_tiny_checkpoint

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


LOAD = """
import sys
import octavo.assemble
from pathlib import Path
from octavo import LLM
def file_kib():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssFile"))
before = file_kib()
with LLM(sys.argv[1], kv_cache_bytes=1 << 20, threads=1): print((file_kib() - before) / 1024)
"""


def test_a_folder_gives_the_pages_of_its_weights_back(tmp_path):
    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8, "head_dim": 64}
    folder = make_tiny_checkpoint("llama", tmp_path, **sizes)
    size_mib = (folder / "model.safetensors").stat().st_size / 2**20
    done = subprocess.run([sys.executable, "-c", LOAD, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < size_mib / 4
