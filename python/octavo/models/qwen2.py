"""Qwen2 and Qwen2.5: Llama with biases on q, k and v (Yang et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["GGUF", "Model"]

GGUF = GgufFamily("qwen2", "qwen2")


class Model(Decoder):
    """Qwen2."""

    defaults: ClassVar = {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        first = keys.count("max_window_layers", least=0)
        keys.flag("attention_bias")  # GGUF files tell of the biases that every Qwen2 has
        return decoder_config(keys, slides=lambda layer: layer >= first, qkv_bias=True)
