"""Self-attention with grouped key/value heads: causal over a paged KV cache, or of whole texts without one (encoders)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.axis_rotation import AxisRotation
from octavo.layers.linear import Linear
from octavo.layers.norm import RMSNorm
from octavo.layers.weights import Weights
from octavo.ops.cache import PagedKV
from octavo.ops.ops import Step, Tensor

__all__ = ["Attention", "QkNorm"]


@dataclass(frozen=True, slots=True)
class QkNorm:
    """Norms on queries and keys: of each head, or of all heads together; before or after the rotation; their weights' offset, or none."""

    offset: float = 0.0
    all_heads: bool = False
    after_rotation: bool = False
    unweighted: bool = False


class Attention:
    """q, k, v = one fused projection -> (norms) -> rotary -> KV cache, where causal -> attention -> output projection.

    Args:
        prefix: checkpoint name of the block, e.g. `model.layers.0.self_attn`.
        rope: the layer's table from `Weights.constant`, which layers of one kind share, or what rotates by several axes; None where
            positions are not rotated.
        qkv_bias, out_bias: whether the projections have biases; k_bias: whether that of keys has one too.
        qk_norm: the norms on q and k, None without.
        softcap: bound of the scores, None without.
        fused: whether the file holds q, k and v as one matrix, `qkv_proj`.
        gated: whether `q_proj` has as many columns again, after those of queries, whose sigmoids weigh what is attended to.
        sinks: whether each head has a score beside those of its tokens, `sinks`.
        chunk: positions of the chunk that a token sees of its own window; None without chunks.
        query_scale: [P, D] rotary table that turns nothing and scales queries by their position, from `position_scale`; None without.
    """

    def __init__(
        self,
        weights: Weights,
        config: ModelConfig,
        prefix: str,
        layer: int,
        rope: Any,
        *,
        qkv_bias: bool = False,
        k_bias: bool = True,
        out_bias: bool = False,
        qk_norm: QkNorm | None = None,
        softcap: float | None = None,
        fused: bool = False,
        gated: bool = False,
        sinks: bool = False,
        chunk: int | None = None,
        query_scale: Any | None = None,
    ) -> None:
        self.ops = weights.ops
        self.rope = rope
        self.head_dim = config.head_dim
        self.num_heads = config.num_heads
        self.q_cols = config.num_heads * config.head_dim
        self.kv_cols = config.num_kv_heads * config.head_dim
        self.scale = config.attention_scale
        self.num_kv_heads, self.window = config.num_kv_heads, config.windows[layer]
        self.cache = weights.cache(PagedKV(config.num_kv_heads, config.head_dim, self.window)) if config.causal else None
        self.softcap = softcap
        self.chunk, self.query_scale = chunk, query_scale
        self.sinks = weights.vector({f"{prefix}.sinks": config.num_heads}) if sinks else None
        slopes = config.alibi_slopes
        self.alibi_slopes = None if slopes is None else weights.constant(np.array(slopes, np.float32))
        self.gated, self.q_rows = gated, self.q_cols * (2 if gated else 1)
        parts = {f"{prefix}.q_proj": self.q_rows, f"{prefix}.k_proj": self.kv_cols, f"{prefix}.v_proj": self.kv_cols}
        if fused:
            parts = {f"{prefix}.qkv_proj": sum(parts.values())}
        self.qkv = Linear(weights, parts, config.hidden_size, bias=qkv_bias, unbiased=None if k_bias else "k_proj")
        self.out = Linear(weights, {f"{prefix}.o_proj": config.hidden_size}, self.q_cols, bias=out_bias)
        self.q_norm = self.k_norm = None
        self.norm_after_rotation = qk_norm is not None and qk_norm.after_rotation
        if qk_norm is not None:
            q_size, k_size = (self.q_cols, self.kv_cols) if qk_norm.all_heads else (self.head_dim, self.head_dim)
            q_name, k_name = (None, None) if qk_norm.unweighted else (f"{prefix}.q_norm", f"{prefix}.k_norm")
            self.q_norm = RMSNorm(weights, q_name, q_size, config.norm_eps, offset=qk_norm.offset)
            self.k_norm = RMSNorm(weights, k_name, k_size, config.norm_eps, offset=qk_norm.offset)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        qkv = self.qkv(x)
        q, k, v = self._parts(qkv)
        if not self.norm_after_rotation:
            q, k = self._normalise(q, k)
        if self.rope is not None:
            q, k = self._rotated(q, step), self._rotated(k, step)
        if self.norm_after_rotation:
            q, k = self._normalise(q, k)
        if self.query_scale is not None:
            q = self.ops.rotary_embedding(step, q, self.query_scale, self.head_dim)
        attended = self._attend(step, q, k, v)
        if self.gated:
            attended = self.ops.mul(attended, self.ops.sigmoid(self.ops.columns(qkv, self.q_cols, self.q_cols)))
        return self.out(attended)

    def _rotated(self, x: Tensor, step: Step) -> Tensor:
        if isinstance(self.rope, AxisRotation):
            return self.rope(step, x, self.head_dim)
        return self.ops.rotary_embedding(step, x, self.rope, self.head_dim)

    def _attend(self, step: Step, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.cache is None:
            heads: dict[str, Any] = {"num_heads": self.num_heads, "num_kv_heads": self.num_kv_heads}
            distance = None if self.window is None else self.window - 1
            return self.ops.attention(step, q, k, v, **heads, scale=self.scale, max_distance=distance)
        self.ops.store_kv(step, k, v, self.cache)
        return self.ops.paged_attention(
            step,
            q,
            self.cache,
            num_heads=self.num_heads,
            scale=self.scale,
            softcap=self.softcap,
            alibi_slopes=self.alibi_slopes,
            sinks=self.sinks,
            chunk=self.chunk,
        )

    def _parts(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = self.ops.columns(qkv, 0, self.q_cols)
        k = self.ops.columns(qkv, self.q_rows, self.kv_cols)
        v = self.ops.columns(qkv, self.q_rows + self.kv_cols, self.kv_cols)
        return q, k, v

    def _normalise(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return (self.q_norm(q), self.k_norm(k)) if self.q_norm and self.k_norm else (q, k)
