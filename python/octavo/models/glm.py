"""GLM-4 of 2024 (GLM Team 2024): half of each head rotates, in pairs of neighbours; gate and up in one matrix."""

from __future__ import annotations

from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.weights import Weights
from octavo.models._glm import GlmDecoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(paired_rows=True)


class Model(GlmDecoder):
    """GLM-4."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, fused_mlp=True)
