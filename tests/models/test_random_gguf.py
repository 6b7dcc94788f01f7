"""The random model that benchmarks run: a file that loads and generates."""

from __future__ import annotations

import runpy
from pathlib import Path

from octavo import LLM, SamplingParams

ROOT = Path(__file__).resolve().parents[2]


def test_it_generates(smollm2, tmp_path):
    write_model = runpy.run_path(str(ROOT / "tools/bench/random_gguf.py"))["write_model"]
    write_model(tmp_path / "tiny.gguf", smollm2, hidden=64, ffn=128, layers=2, heads=4, kv_heads=2)
    with LLM(str(tmp_path / "tiny.gguf"), kv_cache_bytes=1 << 24) as llm:
        (output,) = llm.generate(["One two"], SamplingParams(max_tokens=3, temperature=0.0, ignore_eos=True))
    assert len(output.outputs[0].token_ids) == 3
