"""A token's experts and their sums do not depend on the batch: logits are the same bits however requests share steps."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Run, run_engine
from make_tiny_checkpoint import make_tiny_checkpoint

MAX_TOKENS = 20
PROMPTS = [np.random.default_rng(seed).integers(0, 256, 3 + 13 * seed).tolist() for seed in range(9)]
BASE = {"max_tokens": MAX_TOKENS, "max_model_len": 256, "max_num_batched_tokens": 256, "prefix_caching": False}


@pytest.fixture(scope="module", params=["qwen2_moe", "mixtral"])
def folder(request, tmp_path_factory):
    return make_tiny_checkpoint(request.param, tmp_path_factory.mktemp(request.param), seed=3)


@pytest.fixture(scope="module")
def alone(folder) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        return run_engine(folder, PROMPTS, monkeypatch=patch, **BASE)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_num_batched_tokens": 1},
        {"max_num_batched_tokens": 7},
        {"together": True},
        {"together": True, "threads": 1},
        {"together": True, "kv_cache_bytes": 10 * 16 * 2 * 2 * 2 * 16 * 4},  # ten blocks: a request is preempted
    ],
    ids=["one token a step", "chunks", "together", "one thread", "preemption"],
)
def test_logits_are_the_same_bits(folder, alone, settings, monkeypatch):
    run = run_engine(folder, PROMPTS, monkeypatch=monkeypatch, **{**BASE, **settings})
    assert run.token_ids == alone.token_ids
    assert run.logits.keys() == alone.logits.keys()
    for key, logits in alone.logits.items():
        assert np.array_equal(logits.view(np.int32), run.logits[key].view(np.int32)), f"after {len(key)} tokens"
    assert bool(run.num_preemptions) == ("kv_cache_bytes" in settings)
