"""Phi-3.5-MoE (Abdin et al. 2024): Mixtral with layer norms, biases, and experts chosen by a sparse mixer (Liu et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models import mixtral
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = mixtral.STORED_NAMES


class Model(Decoder):
    """Phi-3.5-MoE."""

    defaults: ClassVar = {
        "vocab_size": 32064,
        "hidden_size": 4096,
        "intermediate_size": 6400,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
        "num_experts_per_tok": 2,
        "num_experts": 16,
        "router_jitter_noise": 0.01,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        mixer = Routing(renormalise=False, scoring="sparsemixer", jitter=keys.number("router_jitter_noise"))
        return decoder_config(
            keys,
            slides=lambda layer: True,
            qkv_bias=bias,
            out_bias=bias,
            norm="layer",
            head_bias=keys.flag("lm_head_bias"),
            moe=moe_config(keys, mixer),
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=feed_forward(weights, config, index))
