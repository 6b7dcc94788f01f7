"""Helium (Kyutai 2025): Llama whose heads rotate in pairs of neighbours."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(paired_rows=True)


class Model(Decoder):
    """Helium."""

    defaults: ClassVar = {
        "vocab_size": 48000,
        "hidden_size": 2560,
        "intermediate_size": 7040,
        "num_hidden_layers": 24,
        "num_attention_heads": 20,
        "num_key_value_heads": 20,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-08,
        "tie_word_embeddings": False,
        "head_dim": 128,
        "rope_theta": 100000.0,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return decoder_config(keys, qkv_bias=keys.flag("attention_bias"), mlp_bias=keys.flag("mlp_bias"))
