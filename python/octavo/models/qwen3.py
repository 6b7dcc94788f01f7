"""Qwen3: Llama with normalised queries and keys."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.kernels.ops import Tensor
from octavo.layers.attention import QkNorm
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.models.llama import LlamaLayer

__all__ = ["Model"]


class Model(Decoder):
    """Qwen3."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> LlamaLayer:
        bias = bool(config.raw.get("attention_bias"))
        return LlamaLayer(weights, config, index, rope, qkv_bias=bias, out_bias=bias, qk_norm=QkNorm())
