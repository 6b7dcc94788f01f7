"""Sequences over a paged KV cache, and what attention of them should be in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fakes import kernel_ops
from octavo import _kernels

__all__ = ["PAGE", "Heads", "Runner", "Sequence", "reference"]

PAGE = 16


@dataclass
class Heads:
    num_heads: int
    num_kv_heads: int
    head_dim: int
    window: int | None = None
    softcap: float | None = None
    slope: float | None = None  # of the last head; the others have their share
    chunk: int | None = None
    sink: float | None = None  # of the last head; the others have less

    @property
    def alibi_slopes(self) -> np.ndarray | None:
        if self.slope is None:
            return None
        return np.linspace(0, self.slope, self.num_heads + 1)[1:].astype(np.float32)

    @property
    def sinks(self) -> np.ndarray | None:
        return None if self.sink is None else np.linspace(self.sink - 3, self.sink, self.num_heads).astype(np.float32)

    @property
    def scale(self) -> float:
        return self.head_dim**-0.5


@dataclass
class Sequence:
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray

    @classmethod
    def random(cls, heads: Heads, num_tokens: int, seed: int) -> Sequence:
        rng = np.random.default_rng(seed)
        widths = [heads.num_heads, heads.num_kv_heads, heads.num_kv_heads]
        return cls(*(rng.standard_normal((num_tokens, n * heads.head_dim)).astype(np.float32) for n in widths))

    def __len__(self) -> int:
        return len(self.q)


def reference(heads: Heads, sequence: Sequence) -> np.ndarray:
    num_tokens, dim = len(sequence), heads.head_dim
    group = heads.num_heads // heads.num_kv_heads
    q = sequence.q.astype(np.float64).reshape(num_tokens, heads.num_heads, dim)
    k, v = (x.astype(np.float64).reshape(num_tokens, heads.num_kv_heads, dim).repeat(group, axis=1) for x in (sequence.k, sequence.v))
    scores = np.einsum("thd,jhd->htj", q, k) * np.float64(np.float32(heads.scale))
    if heads.softcap is not None:
        scores = heads.softcap * np.tanh(scores / heads.softcap)
    distance = np.arange(num_tokens)[:, None] - np.arange(num_tokens)[None, :]
    if heads.alibi_slopes is not None:
        scores = scores - heads.alibi_slopes[:, None, None] * distance
    hidden = (distance < 0) | (distance >= (heads.window or num_tokens))
    if heads.chunk is not None:
        hidden |= distance > (np.arange(num_tokens) % heads.chunk)[:, None]
    scores[:, hidden] = -np.inf
    if heads.sinks is not None:
        scores = np.concatenate([scores, np.broadcast_to(heads.sinks[:, None, None], (*scores.shape[:2], 1))], axis=-1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("htj,jhd->thd", weights[..., :num_tokens], v).reshape(num_tokens, -1)


class Runner:
    """Feeds sequences to a cache in steps of chosen chunk sizes."""

    def __init__(
        self,
        heads: Heads,
        sequences: list[Sequence],
        num_threads: int = 2,
        block_size: int = PAGE,
        seed: int = 0,
        dtype: str = "fp32",
    ) -> None:
        self.heads, self.sequences, self.block_size = heads, sequences, block_size
        self.pool = _kernels.ThreadPool(num_threads)
        blocks_each = [-(-len(s) // block_size) for s in sequences]
        self.num_blocks = sum(blocks_each) + 3
        order = np.random.default_rng(seed).permutation(self.num_blocks).astype(np.int32)
        self.tables = np.full((len(sequences), max(blocks_each)), -1, np.int32)  # what lies past a context must not be read
        for row, count in enumerate(blocks_each):
            self.tables[row, :count], order = order[:count], order[count:]
        self.cache = _kernels.KVCache(2, self.num_blocks, block_size, heads.num_kv_heads, heads.head_dim, dtype)
        self.done = [0] * len(sequences)
        self.outputs = [[] for _ in sequences]

    def slots(self, row: int, start: int, count: int) -> np.ndarray:
        positions = np.arange(start, start + count)
        return self.tables[row, positions // self.block_size] * self.block_size + positions % self.block_size

    def step(self, rows: list[int], counts: list[int]) -> None:
        spans = [(row, self.done[row], count) for row, count in zip(rows, counts, strict=True)]
        parts = {name: np.concatenate([getattr(self.sequences[r], name)[s : s + n] for r, s, n in spans]) for name in "qkv"}
        slots = np.concatenate([self.slots(*span) for span in spans]).astype(np.int32)
        kernel_ops.store_kv(parts["k"], parts["v"], self.cache, 1, slots, self.pool)
        indptr = np.cumsum([0, *counts]).astype(np.int32)
        lens = np.array([s + n for _, s, n in spans], np.int32)
        heads = self.heads
        y = kernel_ops.paged_attention(
            parts["q"],
            self.cache,
            1,
            indptr,
            lens,
            self.tables[rows],
            heads.num_heads,
            heads.scale,
            heads.window,
            heads.softcap,
            self.pool,
            heads.alibi_slopes,
            heads.sinks,
            heads.chunk,
        )
        for (row, start, count), first in zip(spans, indptr, strict=False):
            self.outputs[row].append(y[first : first + count])
            self.done[row] = start + count

    def run(self, chunk: int) -> list[np.ndarray]:
        """All sequences side by side, `chunk` tokens of each per step."""
        while rows := [r for r, s in enumerate(self.sequences) if self.done[r] < len(s)]:
            self.step(rows, [min(chunk, len(self.sequences[r]) - self.done[r]) for r in rows])
        return [np.concatenate(parts) for parts in self.outputs]
