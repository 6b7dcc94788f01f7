"""OLMo 3 (OLMo Team 2025): OLMo 2 with three local layers to a global one, of which only the global are scaled."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import QkNorm
from octavo.layers.block import PostNormBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["Model"]


class Model(Decoder):
    """OLMo 3."""

    defaults: ClassVar = {
        "vocab_size": 50304,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "rope_theta": 500000.0,
        "sliding_window": 4096,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(
            keys,
            slides=lambda layer: (layer + 1) % 4 != 0,
            local_theta=keys.positive("rope_theta"),
            qkv_bias=bias,
            out_bias=bias,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PostNormBlock:
        return PostNormBlock(weights, config, index, rope, qk_norm=QkNorm(all_heads=True))
