"""Qwen2 and Qwen2.5: Llama with biases on q, k and v."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.kernels.ops import Tensor
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.models.llama import LlamaLayer

__all__ = ["Model"]


class Model(Decoder):
    """Qwen2."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> LlamaLayer:
        return LlamaLayer(weights, config, index, rope, qkv_bias=True, out_bias=False)
