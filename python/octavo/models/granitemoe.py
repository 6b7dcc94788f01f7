"""Granite 3, mixtures of experts (IBM 2024)."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (
        (r"(.*)\.block_sparse_moe\.input_linear\.weight", r"\1.mlp.experts.gate_up_proj"),
        (r"(.*)\.block_sparse_moe\.output_linear\.weight", r"\1.mlp.experts.down_proj"),
        (r"(.*)\.block_sparse_moe\.router\.layer\.weight", r"\1.mlp.gate.weight"),
    )
)


class Model(Decoder):
    """Granite MoE."""

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
        "num_experts": 8,
        "num_experts_per_tok": 2,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(
            keys,
            qkv_bias=bias,
            out_bias=bias,
            moe=moe_config(keys, Routing(renormalise=True)),
            attention_scale=keys.positive("attention_multiplier"),
            embedding_scale=keys.positive("embedding_multiplier"),
            residual_scale=keys.positive("residual_multiplier"),
            logits_scale=1.0 / keys.positive("logits_scaling"),
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=feed_forward(weights, config, index))
