"""Granite 3 and 4, dense (IBM 2024): Llama with factors of embeddings, scores, residuals and logits."""

from __future__ import annotations

from typing import Any, ClassVar

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["GGUF", "Model"]


class Model(Decoder):
    """Granite."""

    defaults: ClassVar = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": False,
        "embedding_multiplier": 1.0,
        "logits_scaling": 1.0,
        "residual_multiplier": 1.0,
        "attention_multiplier": 1.0,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(
            keys,
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=keys.flag("mlp_bias"),
            attention_scale=keys.positive("attention_multiplier"),
            embedding_scale=keys.positive("embedding_multiplier"),
            residual_scale=keys.positive("residual_multiplier"),
            logits_scale=1.0 / keys.positive("logits_scaling"),
        )


def _gguf_config(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    """The factors, under the names of config.json."""
    return {
        "attention_multiplier": keys.positive("attention.scale", config["head_dim"] ** -0.5),
        "embedding_multiplier": keys.positive("embedding_scale", 1.0),
        "residual_multiplier": keys.positive("residual_scale", 1.0),
        "logits_scaling": keys.positive("logit_scale", 1.0),
    }


GGUF = GgufFamily("granite", "granite", _gguf_config, paired_rows=True)
