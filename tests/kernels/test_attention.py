"""Paged attention against float64 numpy, and its law: a row's bits never depend on chunks, neighbours, pages or threads."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import kernel_ops
from fakes.paged_sequences import Heads, Runner, Sequence, reference
from octavo import _kernels
from tolerances import assert_within

pytestmark = pytest.mark.usefixtures("isa")


SHAPES = [
    Heads(9, 3, 64),
    Heads(4, 4, 80),
    Heads(4, 1, 256, window=33),
    Heads(6, 2, 96, softcap=5.0),
    Heads(8, 2, 128, window=150, softcap=20.0),
    Heads(3, 1, 8),
    Heads(20, 1, 72, window=1),
    Heads(6, 2, 64, slope=0.7),
    Heads(5, 1, 40, window=50, softcap=9.0, slope=0.01),
    Heads(6, 2, 64, window=70, chunk=70),
    Heads(4, 1, 32, chunk=129),
    Heads(6, 3, 64, sink=2.0),
    Heads(8, 1, 16, window=20, sink=90.0),
]


@pytest.mark.parametrize("heads", SHAPES, ids=str)
def test_matches_reference(heads):
    sequence = Sequence.random(heads, 300, seed=1)
    (got,) = Runner(heads, [sequence]).run(chunk=300)
    assert_within(got, reference(heads, sequence), "attention")


@pytest.mark.parametrize("heads", SHAPES, ids=str)
def test_bits_do_not_depend_on_chunks(heads):
    sequence = Sequence.random(heads, 300, seed=2)
    (whole,) = Runner(heads, [sequence], num_threads=1).run(chunk=300)
    for chunk in (1, 7, 16, 128):
        (chunked,) = Runner(heads, [sequence], num_threads=2, seed=chunk).run(chunk)
        assert chunked.tobytes() == whole.tobytes(), f"chunk size {chunk}"


def test_bits_do_not_depend_on_long_chunks():
    heads = Heads(9, 3, 64)
    sequence = Sequence.random(heads, 1100, seed=6)
    (whole,) = Runner(heads, [sequence], num_threads=1).run(chunk=1100)
    for chunk in (16, 512):
        (chunked,) = Runner(heads, [sequence], num_threads=3, seed=chunk).run(chunk)
        assert chunked.tobytes() == whole.tobytes(), f"chunk size {chunk}"


def test_bits_do_not_depend_on_neighbours():
    heads = Heads(6, 2, 64, window=200)
    sequences = [Sequence.random(heads, length, seed=length) for length in (1, 15, 16, 17, 130, 257, 400)]
    together = Runner(heads, sequences).run(chunk=40)
    for sequence, output in zip(sequences, together, strict=True):
        (alone,) = Runner(heads, [sequence], seed=9).run(chunk=400)
        assert alone.tobytes() == output.tobytes()


def test_bits_do_not_depend_on_threads_or_block_size():
    heads = Heads(3, 1, 64)
    sequence = Sequence.random(heads, 1500, seed=3)  # one head, many segments: split among the threads
    (one,) = Runner(heads, [sequence], num_threads=1).run(chunk=1499)
    for num_threads, block_size in ((2, 16), (3, 32), (8, 64)):
        (many,) = Runner(heads, [sequence], num_threads, block_size).run(chunk=1499)
        assert many.tobytes() == one.tobytes(), f"{num_threads} threads, blocks of {block_size}"


def test_more_segments_than_scratch_slots():
    heads = Heads(4, 4, 8)
    sequence = Sequence.random(heads, 9000, seed=4)  # 4 heads x 71 segments do not fit in one wave of 255
    step = Runner(heads, [sequence], num_threads=2)
    single = Runner(heads, [sequence], num_threads=1)
    for runner in (step, single):
        for count in (8998, 2):
            runner.step([0], [count])
    assert step.outputs[0][-1].tobytes() == single.outputs[0][-1].tobytes()


def test_many_requests():
    heads = Heads(2, 2, 16)
    sequences = [Sequence.random(heads, 3 + i % 20, seed=i) for i in range(150)]  # more than one plan holds
    outputs = Runner(heads, sequences).run(chunk=5)
    for index in (0, 127, 128, 149):
        assert_within(outputs[index], reference(heads, sequences[index]), "attention")


def test_bytes_per_block():
    assert _kernels.KVCache.bytes_per_block(2, 16, 3, 64) == 2 * 16 * 3 * 64 * 2 * 4
    assert _kernels.KVCache(2, 5, 32, 3, 64).num_bytes == 5 * _kernels.KVCache.bytes_per_block(2, 32, 3, 64)
    for dtype, width in (("bf16", 2), ("fp16", 2), ("int8", 1)):
        scales = 2 * 4 if dtype == "int8" else 0  # of K and V of a token and head
        assert _kernels.KVCache.bytes_per_block(2, 16, 3, 64, dtype) == 2 * 16 * 3 * (64 * 2 * width + scales)
        assert _kernels.KVCache(2, 5, 32, 3, 64, dtype).num_bytes == 5 * _kernels.KVCache.bytes_per_block(2, 32, 3, 64, dtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "multiple of 2 key/value heads"),
        ({"context_lens": np.array([0], np.int32)}, "context_lens"),
        ({"context_lens": np.array([99], np.int32)}, "block table of 1 blocks"),
        ({"block_tables": np.array([[7]], np.int32)}, "the cache has 4 blocks"),
        ({"query_indptr": np.array([0, 0], np.int32)}, "from 0 to 1"),
        ({"window": 0}, "window"),
        ({"softcap": 0.0}, "softcap"),
        ({"alibi_slopes": np.ones(3, np.float32)}, "alibi_slopes"),
        ({"layer": 1}, "layer 1 of 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"sinks": np.ones(3, np.float32)}, "sinks"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {
        "q": np.zeros((1, 32), np.float32),
        "cache": _kernels.KVCache(1, 4, 16, 2, 8),
        "layer": 0,
        "query_indptr": np.array([0, 1], np.int32),
        "context_lens": np.array([1], np.int32),
        "block_tables": np.array([[0]], np.int32),
        "num_heads": 4,
        "scale": 1.0,
        "window": None,
        "softcap": None,
        "pool": _kernels.ThreadPool(1),
    }
    with pytest.raises(ValueError, match=message):
        kernel_ops.paged_attention(**(arguments | change))


@pytest.mark.parametrize(("block_size", "head_dim"), [(8, 64), (24, 64), (16, 12), (16, 264)])
def test_bad_cache(block_size, head_dim):
    with pytest.raises(ValueError, match="must be a multiple of"):
        _kernels.KVCache(1, 1, block_size, 1, head_dim)


def test_unknown_dtype():
    with pytest.raises(ValueError, match="dtype is 'fp8'; it must be one of: fp32, bf16, fp16, int8"):
        _kernels.KVCache(1, 1, 16, 1, 8, "fp8")


def test_bad_slot():
    cache, pool, row = _kernels.KVCache(1, 1, 16, 1, 8), _kernels.ThreadPool(1), np.zeros((1, 8), np.float32)
    for slot in (-1, 16):
        with pytest.raises(ValueError, match="the cache has 16 slots"):
            kernel_ops.store_kv(row, row, cache, 0, np.array([slot], np.int32), pool)
