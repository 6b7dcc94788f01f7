"""Qwen1.5-MoE and Qwen2-MoE: Qwen2 with mixtures of experts and a shared expert behind a sigmoid (Yang et al. 2024)."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.kernels.ops import Tensor
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.models.llama import LlamaLayer

__all__ = ["Model"]


class Model(Decoder):
    """Qwen2-MoE."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> LlamaLayer:
        bias = bool(config.raw.get("qkv_bias", True))
        return LlamaLayer(weights, config, index, rope, qkv_bias=bias, out_bias=False, mlp=feed_forward(weights, config, index))
