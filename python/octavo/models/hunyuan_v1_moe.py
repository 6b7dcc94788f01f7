"""Hunyuan, mixtures of experts (Tencent 2025): Hunyuan dense with experts beside a shared one in every layer."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.attention import QkNorm
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models import hunyuan_v1_dense
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (
        *hunyuan_v1_dense.STORED_NAMES.patterns,
        (r"(.*)\.mlp\.gate\.wg\.(.*)", r"\1.mlp.gate.\2"),
        (r"(.*)\.mlp\.shared_mlp\.(.*)", r"\1.mlp.shared_expert.\2"),
    )
)


class Model(Decoder):
    """Hunyuan MoE. Numbers of experts that differ between layers are refused."""

    defaults: ClassVar = {
        **hunyuan_v1_dense.Model.defaults,
        "num_experts": 1,
        "num_experts_per_tok": 1,
    }
    aliases: ClassVar = {"num_experts_per_tok": "moe_topk"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias, size = keys.flag("attention_bias"), keys.count("intermediate_size")
        moe = moe_config(keys, Routing(renormalise=True), shared_expert_size=size, shared_gate=False)
        return decoder_config(keys, qkv_bias=bias, out_bias=bias, moe=moe)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        mlp = feed_forward(weights, config, index)
        return PreNormBlock(weights, config, index, rope, qk_norm=QkNorm(after_rotation=True), mlp=mlp)
