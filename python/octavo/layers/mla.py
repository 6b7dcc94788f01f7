"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434), absorbed: it reads the compressed cache and nothing else.

A token's keys and values are made of one latent c of L elements by a matrix per head, beside a rotated key k_r that heads share. Those
matrices are moved to the query's side and behind the sum:

    score = q . (W_k c) + q_r . k_r = (W_k^T q) . c + q_r . k_r         result = W_v (sum of softmax(scores) c)
"""

from __future__ import annotations

from typing import Any

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.linear import Linear
from octavo.layers.norm import RMSNorm
from octavo.layers.weights import Weights
from octavo.ops.cache import LatentKV
from octavo.ops.ops import Step, Tensor

__all__ = ["LatentAttention"]

_EPS = 1e-6  # of the norms of latents, whatever the family's other norms have


class LatentAttention:
    """q, latent = projections -> norms -> rotary -> latent cache -> attention over latents -> output projection.

    Args:
        prefix: checkpoint name of the block, e.g. `model.layers.0.self_attn`. Rows of queries stand as `latent_rows` puts them.
        rope: the model's rotary table from `Weights.constant`.
    """

    def __init__(self, weights: Weights, config: ModelConfig, prefix: str, rope: Any) -> None:
        mla, heads = config.mla, config.num_heads
        assert mla is not None
        self.ops, self.rope, self.mla, self.num_heads, self.scale = weights.ops, rope, mla, heads, config.attention_scale
        q_cols = heads * (mla.nope_dim + mla.rope_dim)
        self.q_latent = None
        if mla.q_rank is not None:
            self.q_latent = Linear(weights, {f"{prefix}.q_a_proj": mla.q_rank}, config.hidden_size, bias=mla.bias)
            self.q_norm = RMSNorm(weights, f"{prefix}.q_a_layernorm", mla.q_rank, _EPS)
        self.q = Linear(weights, {f"{prefix}.q_b_proj" if mla.q_rank else f"{prefix}.q_proj": q_cols}, mla.q_rank or config.hidden_size)
        self.kv_latent = Linear(weights, {f"{prefix}.kv_a_proj_with_mqa": mla.kv_rank + mla.rope_dim}, config.hidden_size, bias=mla.bias)
        self.kv_norm = RMSNorm(weights, f"{prefix}.kv_a_layernorm", mla.kv_rank, _EPS)
        kv = weights.values(f"{prefix}.kv_b_proj.weight", (heads * (mla.nope_dim + mla.value_dim), mla.kv_rank))
        of_heads = kv.reshape(heads, -1, mla.kv_rank)
        self.into_latent = weights.constant(of_heads[:, : mla.nope_dim].reshape(-1, mla.kv_rank))  # [H * nope, L]
        self.out_of_latent = weights.constant(of_heads[:, mla.nope_dim :].swapaxes(1, 2).reshape(-1, mla.value_dim))  # [H * L, value]
        self.cache = weights.cache(LatentKV(mla.kv_rank, mla.rope_dim))
        self.out = Linear(weights, {f"{prefix}.o_proj": config.hidden_size}, heads * mla.value_dim, bias=mla.bias)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        ops, mla, nope_cols = self.ops, self.mla, self.num_heads * self.mla.nope_dim
        q = self.q(x if self.q_latent is None else self.q_norm(self.q_latent(x)))
        q_rope = ops.rotary_embedding(step, ops.columns(q, nope_cols, self.num_heads * mla.rope_dim), self.rope, mla.rope_dim)
        kv = self.kv_latent(x)
        rope_key = ops.rotary_embedding(step, ops.columns(kv, mla.kv_rank, mla.rope_dim), self.rope, mla.rope_dim)
        ops.store_latent(step, self.kv_norm(ops.columns(kv, 0, mla.kv_rank)), rope_key, self.cache)
        q = ops.head_linear(ops.columns(q, 0, nope_cols), self.into_latent, num_heads=self.num_heads)
        latents = ops.mla_attention(step, q, q_rope, self.cache, num_heads=self.num_heads, scale=self.scale)
        return self.out(ops.head_linear(latents, self.out_of_latent, num_heads=self.num_heads))
