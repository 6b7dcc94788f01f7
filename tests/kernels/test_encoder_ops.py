"""Attention of whole sequences, pooling, rows by id, against float64 numpy, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cases import normal
from octavo._kernels import EmbeddingWeight, run_op

pytestmark = pytest.mark.usefixtures("isa")

LENGTHS = [1, 16, 17, 128, 129, 300, 2]


def indptr(lengths):
    return np.cumsum([0, *lengths], dtype=np.int32)


def attention(q, k, v, lengths, pool, **settings):
    step = {"query_indptr": indptr(lengths), "context_lens": np.array(lengths, np.int32)}
    return run_op("attention", [q, k, v], [], pool, step=step, **settings)[0]


def expected_attention(q, k, v, lengths, num_heads, num_kv_heads, scale, max_distance=None):
    outputs = []
    for begin, end in zip(indptr(lengths)[:-1], indptr(lengths)[1:], strict=True):
        places = np.arange(end - begin)
        for head in range(num_heads):
            size, kv_head = q.shape[1] // num_heads, head * num_kv_heads // num_heads
            own, shared = slice(head * size, (head + 1) * size), slice(kv_head * size, (kv_head + 1) * size)
            scores = scale * q[begin:end, own].astype(np.float64) @ k[begin:end, shared].T
            if max_distance is not None:
                scores[np.abs(places[:, None] - places) > max_distance] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            outputs.append((begin, own, weights / weights.sum(-1, keepdims=True) @ v[begin:end, shared]))
    result = np.zeros(q.shape)
    for begin, own, rows in outputs:
        result[begin : begin + len(rows), own] = rows
    return result


@pytest.mark.parametrize(("num_heads", "num_kv_heads", "head_dim"), [(3, 3, 32), (4, 2, 40), (2, 1, 256)])
@pytest.mark.parametrize("max_distance", [None, 0, 20, 127, 200])
def test_attention(num_heads, num_kv_heads, head_dim, max_distance, pool):
    rows = sum(LENGTHS)
    q, k, v = (normal(rows, heads * head_dim, seed=seed) for seed, heads in enumerate((num_heads, num_kv_heads, num_kv_heads)))
    settings = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "scale": head_dim**-0.5, "max_distance": max_distance}
    y = attention(q, k, v, LENGTHS, pool, **settings)
    np.testing.assert_allclose(y, expected_attention(q, k, v, LENGTHS, **settings), rtol=1e-4, atol=2e-6)


def test_a_sequence_does_not_depend_on_what_shares_its_step(pool):
    q, k, v = (normal(sum(LENGTHS), 64, seed=seed) for seed in range(3))
    settings = {"num_heads": 2, "num_kv_heads": 2, "scale": 0.2}
    together = attention(q, k, v, LENGTHS, pool, **settings)
    begin, end = indptr(LENGTHS)[5:7]
    alone = attention(q[begin:end].copy(), k[begin:end].copy(), v[begin:end].copy(), [LENGTHS[5]], pool, **settings)
    assert alone.tobytes() == together[begin:end].tobytes()


@pytest.mark.parametrize("width", [1, 8, 40])
@pytest.mark.parametrize("kind", ["last", "cls", "mean"])
def test_pool(kind, width, pool):
    x, lengths = normal(10, width), [1, 6, 3]
    step = {"query_indptr": indptr(lengths), "context_lens": np.array(lengths, np.int32)}
    parts = np.split(x, indptr(lengths)[1:-1])
    wanted = [{"last": rows[-1], "cls": rows[0], "mean": rows.astype(np.float64).mean(0)}[kind] for rows in parts]
    np.testing.assert_allclose(run_op("pool", [x], [], pool, step=step, kind=kind)[0], wanted, rtol=1e-6, atol=1e-7)


def test_pool_of_an_unknown_kind(pool):
    with pytest.raises(ValueError, match="kind is max; it can be last, cls or mean"):
        run_op("pool", [normal(2, 8)], [], pool, kind="max")


@pytest.mark.parametrize("bad", [-1, 3])
def test_lookup_refuses_other_ids(bad, pool):
    weight = EmbeddingWeight(normal(3, 40).view(np.uint8).reshape(-1), "F32", 3, 40)
    with pytest.raises(ValueError, match=f"id {bad} is not in the table of 3 rows"):
        run_op("lookup", [np.array([[bad]], np.int32)], [weight], pool)
