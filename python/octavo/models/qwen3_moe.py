"""Qwen3-MoE: Qwen3 with mixtures of experts (Yang et al. 2025)."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.kernels.ops import Tensor
from octavo.layers.attention import QkNorm
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.models.llama import LlamaLayer

__all__ = ["Model"]


class Model(Decoder):
    """Qwen3-MoE."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> LlamaLayer:
        bias = bool(config.raw.get("attention_bias"))
        mlp = feed_forward(weights, config, index)
        return LlamaLayer(weights, config, index, rope, qkv_bias=bias, out_bias=bias, qk_norm=QkNorm(), mlp=mlp)
