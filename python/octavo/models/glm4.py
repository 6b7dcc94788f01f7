"""GLM-4 of 2025 (0414): GLM-4 with norms behind the blocks as well."""

from __future__ import annotations

from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import SandwichBlock
from octavo.layers.weights import Weights
from octavo.models._glm import GlmDecoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (
        (r"(.*)\.post_attention_layernorm\.(.*)", r"\1.pre_feedforward_layernorm.\2"),
        (r"(.*)\.post_self_attn_layernorm\.(.*)", r"\1.post_attention_layernorm.\2"),
        (r"(.*)\.post_mlp_layernorm\.(.*)", r"\1.post_feedforward_layernorm.\2"),
    ),
    paired_rows=True,
)


class Model(GlmDecoder):
    """GLM-4-0414."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> SandwichBlock:
        return SandwichBlock(weights, config, index, rope, fused_mlp=True)
