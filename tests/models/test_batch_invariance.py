"""A request's logits are the same bits whatever the chunking, its neighbours, a prefix-cache hit or a preemption."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Run, run_engine
from prompts import CHATS, LONG, RAW

from octavo.checkpoint import open_checkpoint
from octavo.text import open_tokenizer

MAX_TOKENS = 24


@pytest.fixture(scope="module")
def prompts(smollm2) -> list[list[int]]:
    tokenizer = open_tokenizer(open_checkpoint(smollm2))
    chats = [tokenizer.chat_template.render(chat) for chat in CHATS[:3]]
    return [tokenizer.encode(text) for text in [*RAW[:4], *chats, LONG[:3000]]]


@pytest.fixture(scope="module", params=["auto", "exact"])
def arithmetic(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def alone(smollm2, prompts, arithmetic) -> Run:
    """Each prompt by itself, the whole prompt in one step, nothing cached: what all else is held against."""
    with pytest.MonkeyPatch.context() as patch:
        return run_engine(
            smollm2,
            prompts,
            max_tokens=MAX_TOKENS,
            max_num_batched_tokens=2048,
            prefix_caching=False,
            arithmetic=arithmetic,
            monkeypatch=patch,
        )


def assert_same(run: Run, alone: Run) -> None:
    assert run.token_ids == alone.token_ids
    assert run.logits.keys() == alone.logits.keys()
    different = [
        len(key) for key, logits in alone.logits.items() if not np.array_equal(logits.view(np.int32), run.logits[key].view(np.int32))
    ]
    assert not different, f"logits differ after these many tokens: {different}"


@pytest.mark.parametrize("budget", [1, 7, 16, 512])
def test_chunk_sizes(smollm2, prompts, alone, arithmetic, budget, monkeypatch):
    chosen = [index for index, prompt in enumerate(prompts) if budget > 1 or len(prompt) < 100]
    run = run_engine(
        smollm2,
        [prompts[index] for index in chosen],
        max_tokens=MAX_TOKENS,
        max_num_batched_tokens=budget,
        prefix_caching=False,
        arithmetic=arithmetic,
        monkeypatch=monkeypatch,
    )
    expected = [alone.token_ids[index] for index in chosen]
    assert run.token_ids == expected
    for key, logits in run.logits.items():
        assert np.array_equal(logits.view(np.int32), alone.logits[key].view(np.int32))


def test_prefix_cache_hit(smollm2, prompts, alone, arithmetic, monkeypatch):
    run = run_engine(smollm2, prompts + prompts, max_tokens=MAX_TOKENS, arithmetic=arithmetic, monkeypatch=monkeypatch)
    assert any(run.num_cached_tokens[len(prompts) :]), "the second pass must hit the cache"
    run.token_ids = run.token_ids[len(prompts) :]
    assert_same(run, alone)


def test_batch_of_32(smollm2, prompts, alone, arithmetic, monkeypatch):
    run = run_engine(
        smollm2, prompts * 4, max_tokens=MAX_TOKENS, together=True, prefix_caching=False, arithmetic=arithmetic, monkeypatch=monkeypatch
    )
    assert run.token_ids == alone.token_ids * 4
    run.token_ids = alone.token_ids
    assert_same(run, alone)


def test_forced_preemption(smollm2, prompts, alone, arithmetic, monkeypatch):
    short = [index for index, prompt in enumerate(prompts) if len(prompt) < 100]
    run = run_engine(
        smollm2,
        [prompts[index] for index in short],
        max_tokens=MAX_TOKENS,
        together=True,
        max_model_len=128,
        kv_cache_bytes=12 * 16 * (46080 if arithmetic == "exact" else 23040),  # twelve blocks: fewer than the prompts need together
        prefix_caching=False,
        arithmetic=arithmetic,
        monkeypatch=monkeypatch,
    )
    assert run.num_preemptions > 0
    assert run.token_ids == [alone.token_ids[index] for index in short]
    for key, logits in run.logits.items():
        assert np.array_equal(logits.view(np.int32), alone.logits[key].view(np.int32))


def test_number_of_threads(smollm2, prompts, alone, arithmetic, monkeypatch):
    run = run_engine(smollm2, prompts, max_tokens=MAX_TOKENS, threads=1, arithmetic=arithmetic, monkeypatch=monkeypatch)
    assert_same(run, alone)


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "int8"])
def test_kv_cache_dtypes(smollm2, prompts, dtype, monkeypatch):
    chosen = [0, 1, 4, 7]
    some = [prompts[index] for index in chosen]
    settings = {"max_tokens": MAX_TOKENS, "kv_cache_dtype": dtype, "monkeypatch": monkeypatch}
    full = run_engine(smollm2, some[:1], **{**settings, "kv_cache_dtype": "fp32"})
    one_by_one = run_engine(smollm2, some, max_num_batched_tokens=2048, prefix_caching=False, **settings)
    together = run_engine(smollm2, some * 3, max_num_batched_tokens=100, together=True, threads=1, **settings)
    assert together.token_ids == one_by_one.token_ids * 3
    together.token_ids = one_by_one.token_ids
    assert_same(together, one_by_one)
    assert any(not np.array_equal(logits, full.logits[key]) for key, logits in together.logits.items() if key in full.logits)
