"""OLMo 2 (OLMo Team 2024): norms behind the blocks, queries and keys normalised over all heads."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import POST_NORM_NAMES, GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import QkNorm
from octavo.layers.block import PostNormBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "Model"]

GGUF = GgufFamily("olmo2", "olmo2", names=POST_NORM_NAMES)


class Model(Decoder):
    """OLMo 2."""

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
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(keys, qkv_bias=bias, out_bias=bias)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PostNormBlock:
        return PostNormBlock(weights, config, index, rope, qk_norm=QkNorm(all_heads=True))
