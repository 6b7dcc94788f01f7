"""Nemotron-4 and Minitron (Parmar et al. 2024): layer norms, half of each head rotated, squared ReLUs."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["Model"]


class Model(Decoder):
    """Nemotron. Norm weights are stored less 1."""

    norm_offset = 1.0
    defaults: ClassVar = {
        "vocab_size": 256000,
        "hidden_size": 6144,
        "intermediate_size": 24576,
        "num_hidden_layers": 32,
        "num_attention_heads": 48,
        "hidden_act": "relu2",
        "max_position_embeddings": 4096,
        "norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "partial_rotary_factor": 0.5,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(
            keys,
            partial_rotary=True,
            eps_key="norm_eps",
            norm="layer",
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=keys.flag("mlp_bias"),
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, norm_offset=self.norm_offset, mlp=plain_mlp(weights, config, index))
