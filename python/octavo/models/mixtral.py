"""Mixtral: Mistral with a mixture of experts in every layer (Jiang et al. 2024)."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.kernels.ops import Tensor
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.models.llama import LlamaLayer

__all__ = ["Model"]


class Model(Decoder):
    """Mixtral."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> LlamaLayer:
        return LlamaLayer(weights, config, index, rope, qkv_bias=False, out_bias=False, mlp=feed_forward(weights, config, index))
