"""EXAONE 4 (LG AI Research 2025): norms behind the blocks; global layers among local ones rotate nothing."""

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
    """EXAONE 4."""

    defaults: ClassVar = {
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        every = keys.optional_count("sliding_window_pattern", least=0) or 1
        hybrid = keys.optional_count("sliding_window") is not None
        return decoder_config(keys, slides=lambda layer: hybrid and (layer + 1) % every != 0, rotates_full=not hybrid)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PostNormBlock:
        return PostNormBlock(weights, config, index, rope, qk_norm=QkNorm())
