"""SmolLM3 (Hugging Face 2025): Llama in which each fourth layer does not rotate (Yang et al. 2025, RNoPE)."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, rotating_layers
from octavo.checkpoint.family_files import GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["GGUF", "Model"]

GGUF = GgufFamily("smollm3", "smollm3", paired_rows=True)


class Model(Decoder):
    """SmolLM3."""

    defaults: ClassVar = {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": True,
        "rope_theta": 2000000.0,
        "use_sliding_window": False,
        "no_rope_layer_interval": 4,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        rotates, bias = rotating_layers(keys), keys.flag("attention_bias")
        return decoder_config(
            keys,
            slides=lambda layer: not rotates[layer],
            rotates=lambda layer: rotates[layer],
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=keys.flag("mlp_bias"),
        )
