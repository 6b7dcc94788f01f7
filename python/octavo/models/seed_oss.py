"""Seed-OSS (ByteDance 2025): Llama with biases on q, k and v."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import BLOCK_NAMES, GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["GGUF", "Model"]

GGUF = GgufFamily("seed_oss", "seed_oss", names=BLOCK_NAMES | {"post_attention_norm": "post_attention_layernorm"})


class Model(Decoder):
    """Seed-OSS."""

    defaults: ClassVar = {
        "vocab_size": 155136,
        "hidden_size": 4096,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 80,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 524288,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": False,
        "head_dim": 128,
        "attention_bias": True,
        "attention_out_bias": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return decoder_config(
            keys, qkv_bias=keys.flag("attention_bias"), out_bias=keys.flag("attention_out_bias"), mlp_bias=keys.flag("mlp_bias")
        )
