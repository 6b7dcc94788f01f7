"""Attention over a latent cache against float64 numpy, its law of bits, and the bytes that it keeps per token."""

from __future__ import annotations

import numpy as np
import pytest

from octavo._kernels import ArrayWeight, KVCache, ThreadPool, run_op
from tolerances import assert_within

pytestmark = pytest.mark.usefixtures("isa")

PAGE = 16


class Latents:
    """One sequence over a latent cache of its own, fed in chunks."""

    def __init__(self, num_heads: int, latent: int, rope: int, length: int, dtype: str = "fp32", num_threads: int = 2) -> None:
        rng = np.random.default_rng(length)
        shapes = {"latent": latent, "rope_key": rope, "q": num_heads * latent, "q_rope": num_heads * rope}
        self.arrays = {name: rng.standard_normal((length, cols)).astype(np.float32) for name, cols in shapes.items()}
        self.num_heads, self.scale = num_heads, (latent + rope) ** -0.5
        num_blocks = -(-length // PAGE)
        self.table = rng.permutation(num_blocks).astype(np.int32)
        self.cache = KVCache(2, num_blocks, PAGE, 1, latent + rope, dtype, latent)
        self.pool = ThreadPool(num_threads)

    def run(self, chunk: int) -> np.ndarray:
        length = len(self.arrays["q"])
        return np.concatenate([self.step(start, min(chunk, length - start)) for start in range(0, length, chunk)])

    def step(self, start: int, count: int) -> np.ndarray:
        latent, rope_key, q, q_rope = (np.ascontiguousarray(array[start : start + count]) for array in self.arrays.values())
        positions = np.arange(start, start + count)
        slots = (self.table[positions // PAGE] * PAGE + positions % PAGE).astype(np.int32)
        run_op("store_latent", [latent, rope_key], [], self.pool, self.cache, 1, step={"slot_mapping": slots})
        step = {"query_indptr": np.array([0, count], np.int32), "context_lens": np.array([start + count], np.int32)}
        step["block_tables"] = self.table[None]
        settings = {"num_heads": self.num_heads, "scale": self.scale}
        return run_op("mla_attention", [q, q_rope], [], self.pool, self.cache, 1, None, step, **settings)[0]

    def expected(self) -> np.ndarray:
        latent, rope_key, q, q_rope = (array.astype(np.float64) for array in self.arrays.values())
        length = len(q)
        queries = np.concatenate([part.reshape(length, self.num_heads, -1) for part in (q, q_rope)], axis=-1)
        scores = np.einsum("thd,jd->htj", queries, np.concatenate([latent, rope_key], axis=1)) * np.float64(np.float32(self.scale))
        scores[:, np.triu(np.ones((length, length), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return np.einsum("htj,jd->thd", weights, latent).reshape(length, -1)


SHAPES = [(16, 512, 64, 150), (3, 40, 8, 300), (1, 8, 8, 20), (20, 512, 64, 33), (5, 24, 16, 129)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(shape):
    latents = Latents(*shape)
    assert_within(latents.run(shape[-1]), latents.expected(), "attention")


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16", "int8"])
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_bits_do_not_depend_on_chunks_or_threads(shape, dtype):
    whole = Latents(*shape, dtype, num_threads=1).run(shape[-1])
    for chunk in (1, 7, 128):
        assert Latents(*shape, dtype).run(chunk).tobytes() == whole.tobytes(), f"chunk size {chunk}"


@pytest.mark.parametrize(("dtype", "bound"), [("bf16", 0.02), ("fp16", 0.002), ("int8", 0.03)])
def test_rounded_latents_stay_close(dtype, bound):
    latents = Latents(8, 64, 16, 200, dtype)
    assert np.abs(latents.run(200) - latents.expected()).max() < bound


def test_a_token_costs_its_latent_and_its_rotated_key_and_nothing_else():
    """DeepSeek-V3 in bf16: 61 layers x (512 + 64) x 2 bytes a token, where 128 heads of keys and values would be 61 x 128 x 320 x 2."""
    assert KVCache.bytes_per_block(61, 16, 1, 576, "bf16", 512) == 16 * 61 * (512 + 64) * 2
    assert KVCache.bytes_per_block(1, 16, 1, 576, "int8", 512) == 16 * (512 + 64 + 4)
    assert KVCache(3, 5, 32, 1, 576, "fp32", 512).num_bytes == 5 * 32 * 3 * (512 + 64) * 4


def test_what_does_not_fit_is_refused():
    latents = Latents(2, 16, 8, 5)
    with pytest.raises(ValueError, match="heads of 8 and 8 elements, the cache holds 16 of 24"):
        latents.arrays["q"] = latents.arrays["q"][:, :16].copy()
        latents.run(5)
    with pytest.raises(ValueError, match="must be a multiple of 8, at most 640"):
        KVCache(1, 1, 16, 1, 648, "fp32", 512)
    with pytest.raises(ValueError, match="the cache is of another kind"):
        key = np.zeros((1, 24), np.float32)
        run_op("store_kv", [key, key], [], latents.pool, latents.cache, 0, step={"slot_mapping": np.zeros(1, np.int32)})


@pytest.mark.parametrize(("num_heads", "inputs", "outputs"), [(16, 128, 512), (3, 5, 7), (2, 40, 33)])
@pytest.mark.parametrize("num_tokens", [1, 6, 70])
def test_a_matrix_for_each_head(num_heads, inputs, outputs, num_tokens, pool):
    rng = np.random.default_rng(0)
    x, weight = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((num_tokens, num_heads * inputs), (num_heads * inputs, outputs))
    )
    (y,) = run_op("head_linear", [x], [ArrayWeight(weight)], pool, num_heads=num_heads)
    heads = x.astype(np.float64).reshape(num_tokens, num_heads, inputs)
    expected = np.einsum("rhk,hkn->rhn", heads, weight.astype(np.float64).reshape(num_heads, inputs, outputs)).reshape(num_tokens, -1)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    (last,) = run_op("head_linear", [x[-1:]], [ArrayWeight(weight)], pool, num_heads=num_heads)
    assert last.tobytes() == y[-1:].tobytes()
