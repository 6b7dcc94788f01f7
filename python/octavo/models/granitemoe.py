"""Granite 3, mixtures of experts (IBM 2024)."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import moe_config
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._granite import GraniteDecoder, granite_config
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (
        (r"(.*)\.block_sparse_moe\.input_linear\.weight", r"\1.mlp.experts.gate_up_proj"),
        (r"(.*)\.block_sparse_moe\.output_linear\.weight", r"\1.mlp.experts.down_proj"),
        (r"(.*)\.block_sparse_moe\.router\.layer\.weight", r"\1.mlp.gate.weight"),
    )
)


class Model(GraniteDecoder):
    """Granite MoE."""

    defaults: ClassVar = GraniteDecoder.defaults | {"num_experts": 8, "num_experts_per_tok": 2}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return granite_config(keys, moe=moe_config(keys, Routing(renormalise=True)))

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=feed_forward(weights, config, index))
