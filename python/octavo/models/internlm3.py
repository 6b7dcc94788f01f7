"""InternLM 3 (Shanghai AI Laboratory 2025): Llama whose biases have names of their own."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["Model"]


class Model(Decoder):
    """InternLM 3."""

    defaults: ClassVar = {
        "vocab_size": 128512,
        "hidden_size": 4096,
        "intermediate_size": 10240,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
    }
    aliases: ClassVar = {"attention_bias": "qkv_bias", "mlp_bias": "bias"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("mlp_bias")
        return decoder_config(keys, qkv_bias=keys.flag("attention_bias"), out_bias=bias, mlp_bias=bias)
