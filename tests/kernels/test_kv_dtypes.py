"""Element types of the KV cache: what is stored, what attention makes of it, and the same bits however the tokens arrive."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fakes import kernel_ops
from fakes.paged_sequences import PAGE, Heads, Runner, Sequence, reference
from octavo import _kernels
from octavo.ops.cache import PagedKV
from octavo.ops.reference_kv import TorchKVCache

DTYPES = ("fp32", "bf16", "fp16", "int8")
DIM = 64
LARGEST = {"fp32": np.finfo(np.float32).max, "bf16": np.float32(3.3895314e38), "fp16": np.float32(65504)}


pytestmark = pytest.mark.usefixtures("isa")


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """Float32 [..., D] as the cache keeps it; each row is one head of one token."""
    if dtype == "int8":
        scale = np.abs(x).max(-1, keepdims=True) / np.float32(127)
        with np.errstate(all="ignore"):
            codes = np.clip(np.where(scale > 0, np.rint(x / scale), 0), -127, 127)
        return codes.astype(np.float32) * scale
    x = np.where(np.isfinite(x), np.clip(x, -LARGEST[dtype], LARGEST[dtype]), x)
    if dtype == "fp16":
        return x.astype(np.float16).astype(np.float32)
    return torch.from_numpy(x).bfloat16().float().numpy() if dtype == "bf16" else x


def read_back(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Values [N, D] stored, and read by N requests that see one token each: a softmax over one position is 1."""
    count, dim = rows.shape
    cache, pool = _kernels.KVCache(1, count, PAGE, 1, dim, dtype), _kernels.ThreadPool(2)
    blocks, ones = np.arange(count, dtype=np.int32), np.ones(count, np.int32)
    kernel_ops.store_kv(np.zeros_like(rows), rows, cache, 0, blocks * PAGE + blocks % PAGE, pool)
    tables = blocks[:, None]
    window = 1  # the other tokens of the page were never written
    return kernel_ops.paged_attention(
        np.zeros_like(rows), cache, 0, np.arange(count + 1, dtype=np.int32), blocks % PAGE + ones, tables, 1, 1.0, window, None, pool
    )


def awkward_rows() -> np.ndarray:
    """Every exponent, every finite half, ties of both kinds, subnormals, zeros, values past the largest half."""
    rng = np.random.default_rng(7)
    wide = rng.integers(0, 0x7F800000, (200, DIM), dtype=np.uint32).view(np.float32) * rng.choice([-1, 1], (200, DIM)).astype(np.float32)
    every_half = np.arange(0x7C00, dtype=np.uint16).view(np.float16).reshape(-1, DIM).astype(np.float32)
    halves = rng.integers(0, 0x7BFF, (100, DIM)).astype(np.uint16)
    ties = (halves.view(np.float16).astype(np.float64) + (halves + 1).astype(np.uint16).view(np.float16)) / 2
    upper = rng.integers(0, 0x7F00, (100, DIM)).astype(np.uint32) << 16
    special = np.zeros((4, DIM), np.float32)
    special[1, ::2], special[2], special[3, 5] = -0.0, 1e-45, 3.4e38
    return np.concatenate(
        [wide, every_half, -every_half, ties.astype(np.float32), (upper | 0x8000).view(np.float32), special, wide[:50] * np.float32(1e-30)]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_stored_values(dtype):
    rows = awkward_rows()
    np.testing.assert_array_equal(read_back(rows, dtype), rounded(rows, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_oracle_stores_the_same(dtype):
    rows = awkward_rows()
    cache = TorchKVCache(len(rows), PagedKV(1, DIM), dtype, torch.device("cpu"))
    slots = torch.arange(len(rows)).flip(0)
    cache.store(slots, torch.from_numpy(-rows), torch.from_numpy(rows))
    keys, values = cache.load(slots).squeeze(2).numpy()
    np.testing.assert_array_equal(values, rounded(rows, dtype))
    np.testing.assert_array_equal(keys, -values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(dtype, bad):
    rows = np.ones((2, DIM), np.float32)
    rows[1, 3] = bad
    finite, spoiled = read_back(rows, dtype)
    assert np.isfinite(finite).all()
    if dtype == "int8":
        assert np.isnan(spoiled).all()
    else:
        np.testing.assert_array_equal(spoiled, rows[1])


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("heads", [Heads(9, 3, 64), Heads(6, 2, 72, window=33, softcap=5.0), Heads(4, 1, 256), Heads(3, 1, 8)], ids=str)
def test_matches_reference(heads, dtype):
    sequence = Sequence.random(heads, 300, seed=1)
    k, v = (rounded(x.reshape(300, -1, heads.head_dim), dtype).reshape(300, -1) for x in (sequence.k, sequence.v))
    (got,) = Runner(heads, [sequence], dtype=dtype).run(chunk=300)
    np.testing.assert_allclose(got, reference(heads, Sequence(sequence.q, k, v)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_bits_do_not_depend_on_chunks_threads_or_block_size(dtype):
    heads = Heads(6, 2, 72, window=333)
    sequence = Sequence.random(heads, 700, seed=2)
    (whole,) = Runner(heads, [sequence], num_threads=1, dtype=dtype).run(chunk=700)
    for chunk, block_size in ((1, 16), (7, 32), (128, 64)):
        (chunked,) = Runner(heads, [sequence], 3, block_size, seed=chunk, dtype=dtype).run(chunk)
        assert chunked.tobytes() == whole.tobytes(), f"chunk size {chunk}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_split_contexts_and_neighbours(dtype):
    heads = Heads(3, 1, 64)  # one key/value head, many segments: split among the threads
    sequences = [Sequence.random(heads, length, seed=length) for length in (1500, 17, 130)]
    together = Runner(heads, sequences, num_threads=3, dtype=dtype).run(chunk=1499)
    for sequence, output in zip(sequences, together, strict=True):
        (alone,) = Runner(heads, [sequence], num_threads=1, seed=9, dtype=dtype).run(chunk=2000)
        assert alone.tobytes() == output.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_stale_memory_is_never_seen(dtype):
    heads = Heads(2, 1, 16)
    sequence = Sequence.random(heads, 20, seed=5)
    (clean,) = Runner(heads, [sequence], dtype=dtype).run(chunk=1)
    runner = Runner(heads, [sequence], dtype=dtype)
    poison = np.full((runner.num_blocks * PAGE, 16), np.nan, np.float32)
    kernel_ops.store_kv(poison, poison, runner.cache, 1, np.arange(len(poison), dtype=np.int32), runner.pool)
    (dirty,) = runner.run(chunk=1)
    assert dirty.tobytes() == clean.tobytes()


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "int8"])
def test_overflow_makes_no_nan(dtype):
    heads = Heads(2, 1, 16)
    sequence = Sequence.random(heads, 40, seed=3)
    sequence.v[::3] = LARGEST["fp32"] if dtype == "bf16" else 1e6
    sequence.k[::3] *= 1e6
    (got,) = Runner(heads, [sequence], dtype=dtype).run(chunk=40)
    assert np.isfinite(got).all()
