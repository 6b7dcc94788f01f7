"""Granite 3 and 4, dense (IBM 2024): Llama with factors of embeddings, scores, residuals and logits."""

from __future__ import annotations

from typing import Any

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.family_files import GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._granite import GraniteDecoder, granite_config

__all__ = ["GGUF", "Model"]


class Model(GraniteDecoder):
    """Granite."""

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return granite_config(keys, mlp_bias=keys.flag("mlp_bias"))


def _gguf_config(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    """The factors, under the names of config.json."""
    return {
        "attention_multiplier": keys.positive("attention.scale", config["head_dim"] ** -0.5),
        "embedding_multiplier": keys.positive("embedding_scale", 1.0),
        "residual_multiplier": keys.positive("residual_scale", 1.0),
        "logits_scaling": keys.positive("logit_scale", 1.0),
    }


GGUF = GgufFamily("granite", "granite", _gguf_config, paired_rows=True)
