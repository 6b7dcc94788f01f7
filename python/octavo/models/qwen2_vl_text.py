"""Qwen2-VL's decoder (Wang et al. 2024): Qwen2 whose positions have three axes: time, row and column of a picture's patches."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["Model"]


class Model(Decoder):
    """Qwen2-VL and Qwen2.5-VL."""

    defaults: ClassVar = {
        "vocab_size": 152064,
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 80,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        first = keys.count("max_window_layers", least=0)
        return decoder_config(keys, slides=lambda layer: layer >= first, qkv_bias=True, sections=(16, 24, 24), default_theta=1e6)
