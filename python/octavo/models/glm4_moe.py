"""GLM-4.5 and 4.6 (GLM Team 2025): mixtures of experts behind sigmoids, half of each head rotated, one or more dense layers first."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, grouped_routing, moe_config
from octavo.checkpoint.family_files import SHARED_EXPERTS, StoredNames
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import QkNorm
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(SHARED_EXPERTS)


class Model(Decoder):
    """GLM-4.5. Layers that guess further tokens ahead are left in the file."""

    defaults: ClassVar = {
        "vocab_size": 151552,
        "hidden_size": 4096,
        "intermediate_size": 10944,
        "num_hidden_layers": 46,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "partial_rotary_factor": 0.5,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "num_experts": 128,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "use_qk_norm": False,
    }
    aliases: ClassVar = {"num_experts": "n_routed_experts"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        num_dense = keys.count("first_k_dense_replace", least=0)
        moe = moe_config(
            keys,
            grouped_routing(keys),
            shared_expert_size=keys.count("n_shared_experts") * keys.count("moe_intermediate_size"),
            size_key="moe_intermediate_size",
            sparse=lambda layer: layer >= num_dense,
            shared_gate=False,
            correction_bias=True,
        )
        return decoder_config(keys, partial_rotary=True, qkv_bias=keys.flag("attention_bias"), moe=moe, qk_norm=keys.flag("use_qk_norm"))

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        qk_norm = QkNorm() if config.qk_norm else None
        return PreNormBlock(weights, config, index, rope, qk_norm=qk_norm, mlp=feed_forward(weights, config, index))
