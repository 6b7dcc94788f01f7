"""OLMoE: a mixture of experts in every layer, queries and keys normalised over all heads (Muennighoff et al. 2024)."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import CheckpointError
from octavo.kernels.ops import Tensor
from octavo.layers.attention import QkNorm
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.models.llama import LlamaLayer

__all__ = ["Model"]


class Model(Decoder):
    """OLMoE."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> LlamaLayer:
        if config.raw.get("clip_qkv") is not None:
            raise CheckpointError(f"config.json: clip_qkv is {config.raw['clip_qkv']}; OLMoE models that clip q, k and v cannot be run")
        bias, mlp = bool(config.raw.get("attention_bias")), feed_forward(weights, config, index)
        return LlamaLayer(weights, config, index, rope, qkv_bias=bias, out_bias=bias, qk_norm=QkNorm(all_heads=True), mlp=mlp)
