"""ERNIE 4.5, dense (Baidu 2025): Llama whose heads rotate in pairs of neighbours."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import GgufFamily, StoredNames
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["GGUF", "STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(paired_rows=True)
GGUF = GgufFamily("ernie4_5", "ernie4_5", paired_rows=True)


class Model(Decoder):
    """ERNIE 4.5."""

    defaults: ClassVar = {
        "vocab_size": 103424,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 18,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": True,
        "head_dim": 128,
        "rope_theta": 500000.0,
        "use_bias": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("use_bias")
        return decoder_config(keys, qkv_bias=bias, out_bias=bias, mlp_bias=bias)
