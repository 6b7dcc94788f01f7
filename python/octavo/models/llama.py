"""Llama 1 to 3, SmolLM and their like (Touvron et al. 2023): the plain block, with rotary scalings of every kind."""

from __future__ import annotations

from typing import Any, ClassVar

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["GGUF", "Model"]


class Model(Decoder):
    """Llama."""

    defaults: ClassVar = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(keys, qkv_bias=bias, out_bias=bias, mlp_bias=keys.flag("mlp_bias"))


def _gguf_config(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    """llama.cpp stores Mistral and Mixtral under the name llama too."""
    window = keys.optional_count("attention.sliding_window", least=0) or None
    if "num_experts" in config:
        return {"model_type": "mixtral", "hidden_act": "silu", "sliding_window": window}
    return {"model_type": "mistral", "hidden_act": "silu", "sliding_window": window} if window else {"hidden_act": "silu"}


GGUF = GgufFamily("llama", "llama", _gguf_config, paired_rows=True, renormalise=True)
