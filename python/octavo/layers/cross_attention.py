"""Attention of a decoder's tokens to what an encoder made of the sequence's own input (Vaswani et al. 2017)."""

from __future__ import annotations

from typing import Any

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.linear import Linear
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["CrossAttention"]


class CrossAttention:
    """q = projection -> attention to the keys and values that the sequence began with -> output projection.

    A tower computes these (`towers/`): for each layer of the decoder its keys and then its values, side by side.

    Args:
        prefix: checkpoint name of the block, e.g. `model.layers.0.cross_attn`.
    """

    def __init__(self, weights: Weights, config: ModelConfig, prefix: str) -> None:
        self.ops = weights.ops
        self.settings: dict[str, Any] = {
            "num_heads": config.num_heads,
            "num_positions": config.source_positions,
            "scale": config.attention_scale,
        }
        size = config.num_heads * config.head_dim
        self.q = Linear(weights, {f"{prefix}.q_proj": size}, config.hidden_size, bias=True)
        self.out = Linear(weights, {f"{prefix}.o_proj": config.hidden_size}, size, bias=True)
        pages, padded = -(-config.source_positions // 16), -(-config.head_dim // 16) * 16
        self.state = weights.state(config.num_heads * pages * 16 * (config.head_dim + padded))

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        return self.out(self.ops.cross_attention(step, self.q(x), self.state, **self.settings))
