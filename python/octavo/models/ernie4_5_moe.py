"""ERNIE 4.5, mixtures of experts (Baidu 2025): a correction bias in the choice of experts, shared experts, dense layers first."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config
from octavo.checkpoint.family_files import SHARED_EXPERTS, StoredNames
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (*SHARED_EXPERTS, (r"(.*)\.mlp\.(?:gate\.)?moe_statics\.(.*)", r"\1.mlp.gate.\2")),
    paired_rows=True,
)


class Model(Decoder):
    """ERNIE 4.5 MoE."""

    defaults: ClassVar = {
        "vocab_size": 103424,
        "hidden_size": 2560,
        "intermediate_size": 12288,
        "num_hidden_layers": 28,
        "num_attention_heads": 20,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "use_bias": False,
        "moe_intermediate_size": 1536,
        "num_experts_per_tok": 6,
        "num_experts": 64,
        "moe_num_shared_experts": 2,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": -1,
        "moe_layer_interval": 1,
        "moe_norm_min": 1e-12,
    }
    aliases: ClassVar = {"num_experts": "moe_num_experts", "num_experts_per_tok": "moe_k"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("use_bias")
        first, last, every = (
            keys.count("moe_layer_start_index", least=0),
            keys.count("moe_layer_end_index", least=-1),
            keys.count("moe_layer_interval"),
        )
        moe = moe_config(
            keys,
            Routing(renormalise=True, least_sum=keys.number("moe_norm_min")),
            shared_expert_size=keys.count("moe_num_shared_experts", least=0) * keys.count("moe_intermediate_size") or None,
            size_key="moe_intermediate_size",
            sparse=lambda layer: layer >= first and (last == -1 or layer <= last) and (layer + 1) % every == 0,
            shared_gate=False,
            correction_bias=True,
        )
        return decoder_config(keys, qkv_bias=bias, out_bias=bias, mlp_bias=bias, moe=moe)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=feed_forward(weights, config, index))
