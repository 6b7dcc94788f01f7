"""What the families of Granite share: Llama's defaults, and factors of embeddings, scores, residuals and logits."""

from __future__ import annotations

from typing import Any, ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import LLAMA_DEFAULTS, decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["GraniteDecoder", "granite_config"]


class GraniteDecoder(Decoder):
    """Llama with factors."""

    defaults: ClassVar = LLAMA_DEFAULTS | {
        "embedding_multiplier": 1.0,
        "logits_scaling": 1.0,
        "residual_multiplier": 1.0,
        "attention_multiplier": 1.0,
    }


def granite_config(keys: ConfigKeys, **family: Any) -> ModelConfig:
    """Read config.json; `family` are the fields that a family sets itself."""
    bias = keys.flag("attention_bias")
    return decoder_config(
        keys,
        qkv_bias=bias,
        out_bias=bias,
        attention_scale=keys.positive("attention_multiplier"),
        embedding_scale=keys.positive("embedding_multiplier"),
        residual_scale=keys.positive("residual_multiplier"),
        logits_scale=1.0 / keys.positive("logits_scaling"),
        **family,
    )
