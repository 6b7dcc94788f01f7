"""Gemma (Gemma Team 2024): Llama's block with scaled embeddings and a feed-forward block gated by GELU."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "Model"]

GGUF = GgufFamily("gemma", "gemma", norm_offset=1.0)


class Model(Decoder):
    """Gemma. Norm weights are stored less 1."""

    norm_offset = 1.0
    defaults: ClassVar = {
        "vocab_size": 256000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        activation = keys.text("hidden_act")
        return decoder_config(
            keys,
            qkv_bias=bias,
            out_bias=bias,
            activation="gelu_pytorch_tanh" if activation == "gelu" else activation,  # the first files meant the approximation
            embedding_scale=keys.count("hidden_size") ** 0.5,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, norm_offset=self.norm_offset)
