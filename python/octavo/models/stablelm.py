"""StableLM 2 and StableLM 3B (Bellagente et al. 2024): Llama with layer norms, a quarter of each head rotated."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["Model"]


class Model(Decoder):
    """StableLM."""

    defaults: ClassVar = {
        "vocab_size": 50304,
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "layer_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "partial_rotary_factor": 0.25,
        "use_qkv_bias": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("use_qkv_bias")
        return decoder_config(keys, partial_rotary=True, eps_key="layer_norm_eps", norm="layer", qkv_bias=bias)
