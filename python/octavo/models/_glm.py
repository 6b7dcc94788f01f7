"""What the dense GLM-4 of 2024 and of 2025 share: their config, and what it leaves out."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["GlmDecoder"]


class GlmDecoder(Decoder):
    """Half of each head rotates; queries, keys and values have biases."""

    defaults: ClassVar = {
        "vocab_size": 151552,
        "hidden_size": 4096,
        "intermediate_size": 13696,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1.5625e-07,
        "tie_word_embeddings": False,
        "head_dim": 128,
        "partial_rotary_factor": 0.5,
        "attention_bias": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return decoder_config(keys, partial_rotary=True, qkv_bias=keys.flag("attention_bias"))
