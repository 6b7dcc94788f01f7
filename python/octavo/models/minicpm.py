"""MiniCPM 1 and 2 (Hu et al. 2024): Llama with factors of embeddings, residuals and logits."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["REFERENCE", "Model"]

REFERENCE = "transformers' Granite, which computes the same"


class Model(Decoder):
    """MiniCPM."""

    defaults: ClassVar = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": True,
        "scale_emb": 1,
        "scale_depth": 1,
        "dim_model_base": 1,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(
            keys,
            qkv_bias=bias,
            out_bias=bias,
            embedding_scale=keys.positive("scale_emb"),
            residual_scale=keys.positive("scale_depth") / keys.count("num_hidden_layers") ** 0.5,
            logits_scale=keys.positive("dim_model_base") / keys.count("hidden_size"),
        )
