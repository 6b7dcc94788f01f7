"""A model of alternating windows (Gemma 3) keeps the blocks that its windows see, and answers as one that keeps all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import Run, run_engine
from make_tiny_checkpoint import make_tiny_checkpoint

from octavo import assemble
from octavo.platforms import cpu
from octavo.platforms import torch as torch_platform
from octavo.scheduler import Scheduler

WINDOW = 100
CHUNK = 256
BLOCK = 16
TOLERANCE = 1e-3  # of logits around 10


@pytest.fixture(scope="module")
def gemma(tmp_path_factory) -> Path:
    return make_tiny_checkpoint("gemma3_text", tmp_path_factory.mktemp("gemma"), sliding_window=WINDOW, max_position_embeddings=8192)


@pytest.fixture
def held(monkeypatch) -> list[list[int]]:
    """Blocks that the first running sequence holds in each cache group, step by step; the windowed group is the first."""
    steps: list[list[int]] = []

    class Watched(Scheduler):
        def schedule(self, *args):
            plan = super().schedule(*args)
            if len(self.batch.running):
                steps.append(self.batch.running.first.table.num_held)
            return plan

    monkeypatch.setattr(assemble, "Scheduler", Watched)
    return steps


def prompt(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 256, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def run(gemma: Path, prompts: list[list[int]], monkeypatch, max_tokens: int = 24, **settings) -> Run:
    settings = {"arithmetic": "exact", "max_num_batched_tokens": CHUNK, "max_num_seqs": 4, **settings}
    return run_engine(gemma, prompts, max_tokens=max_tokens, monkeypatch=monkeypatch, **settings)


def one_pool(monkeypatch) -> None:
    """From now on all layers keep all tokens, as if no layer had a window."""
    for platform in (cpu, torch_platform):
        monkeypatch.setattr(platform, "with_blocks", lambda config, shape, groups, left: replace(shape, num_blocks=1100))


def assert_same_bits(one: Run, other: Run) -> None:
    assert one.token_ids == other.token_ids
    assert one.logits.keys() == other.logits.keys()
    for tokens, logits in one.logits.items():
        np.testing.assert_array_equal(logits, other.logits[tokens])


def assert_transformers_agrees(gemma: Path, made: Run, prompts: list[list[int]]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gemma, dtype=torch.float32).eval()
    for tokens, output in zip(prompts, made.token_ids, strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([tokens + output[:-1]]), logits_to_keep=len(output)).logits[0].numpy()
        ours = [made.logits[tuple(tokens + output[:index])] for index in range(len(output))]
        np.testing.assert_allclose(np.stack(ours), expected, rtol=0, atol=TOLERANCE)


def test_a_sequence_of_8k_tokens_holds_blocks_for_its_windows_only(gemma, held, monkeypatch):
    tokens = prompt(8160)
    windowed = run(gemma, [tokens], monkeypatch, max_model_len=8192)
    assert max(full for _, full in held) == -(-8183 // BLOCK) == 512
    assert max(local for local, _ in held) <= -(-(WINDOW + CHUNK) // BLOCK) + 1 == 24
    assert held[-1][0] <= -(-WINDOW // BLOCK) + 1 == 8
    assert_transformers_agrees(gemma, windowed, [tokens])
    one_pool(monkeypatch)
    assert_same_bits(run(gemma, [tokens], monkeypatch, max_model_len=8192), windowed)
    assert held[-1] == [512]


@pytest.mark.parametrize("executor", ["step_program", "eager"])
def test_hits_and_preemptions_change_no_token(gemma, executor, monkeypatch):
    shared = prompt(300)
    long = [shared, [*shared, *prompt(70, seed=1)], [*shared, *prompt(90, seed=2)]]
    short = [prompt(40, seed=seed) for seed in (3, 4, 5, 6)]
    settings = {"executor": executor, "max_model_len": 1024}
    hits = run(gemma, long, monkeypatch, **settings)
    assert hits.num_cached_tokens == [0, 288, 288]
    preempted = run(gemma, short, monkeypatch, max_tokens=90, together=True, kv_cache_bytes=600_000, **settings)
    assert preempted.num_preemptions > 0
    one_pool(monkeypatch)
    computed = run(gemma, long, monkeypatch, prefix_caching=False, **settings)
    never_preempted = run(gemma, short, monkeypatch, max_tokens=90, together=True, **settings)
    assert never_preempted.num_preemptions == 0
    if executor == "eager":  # torch sums in another order for another batch
        assert (hits.token_ids, preempted.token_ids) == (computed.token_ids, never_preempted.token_ids)
        return
    assert_same_bits(hits, computed)
    assert_same_bits(preempted, never_preempted)
    assert_transformers_agrees(gemma, hits, long)
    assert_transformers_agrees(gemma, preempted, short)
