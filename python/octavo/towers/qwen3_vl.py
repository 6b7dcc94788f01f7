"""Qwen3-VL's tower (Bai et al. 2025): learned positions besides rotation, and features of several depths."""

from __future__ import annotations

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.media_family import MOST_PATCHES
from octavo.layers.linear import Linear
from octavo.layers.mlp import PlainMLP
from octavo.layers.norm import LayerNorm
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor
from octavo.towers._qwen_parts import NORM_EPS, QwenSizes, RotatedBlock, SquareMerger, grid_rotation

__all__ = ["Tower"]

_DEFAULTS = {
    "depth": 27,
    "hidden_size": 1152,
    "hidden_act": "gelu_pytorch_tanh",
    "intermediate_size": 4304,
    "num_heads": 16,
    "patch_size": 16,
    "out_hidden_size": 3584,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}
_TAPS = 4  # learned positions that make up a patch's own


class Tower:
    """Implements `towers.Tower`: rows of the last block, then those that the decoder's first layers add (DeepStack; Meng et al. 2024)."""

    tile_patches = MOST_PATCHES
    tile_windows = 1
    unused = ()

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        self.ops = weights.ops
        vision = config.section("vision_config", _DEFAULTS)
        self.sizes = sizes = QwenSizes.read(vision)
        size, rotation = sizes.hidden_size, grid_rotation(weights, vision, sizes, 2 + _TAPS)
        self.embed = Linear(weights, {"visual.patch_embed.proj": size}, sizes.patch_values, bias=True)
        self.positions = weights.embedding("visual.pos_embed.weight", vision.count("num_position_embeddings"), size)
        mlp_size = vision.count("intermediate_size")
        self.blocks = []
        for index in range(sizes.num_layers):
            prefix = f"visual.blocks.{index}"
            names = (f"{prefix}.mlp.linear_fc1", f"{prefix}.mlp.linear_fc2")
            mlp = PlainMLP(weights, *names, size, mlp_size, vision.name("hidden_act"), bias=True)
            norms = (LayerNorm(weights, f"{prefix}.norm1", size, NORM_EPS), LayerNorm(weights, f"{prefix}.norm2", size, NORM_EPS))
            self.blocks.append(RotatedBlock(weights, prefix, sizes, rotation, norms, mlp))
        out_size, depths = vision.count("out_hidden_size"), vision.counts("deepstack_visual_indexes")
        self.merger = _merger(weights, "visual.merger", sizes, out_size, squares=False)
        self.deep = {
            depth: _merger(weights, f"visual.deepstack_merger_list.{index}", sizes, out_size, squares=True)
            for index, depth in enumerate(depths)
        }

    def forward(self, step: Step) -> tuple[Tensor, ...]:
        """See `towers.Tower.forward`."""
        num_values = self.sizes.patch_values
        patches = self.ops.patches(step, num_values + _TAPS)
        x = self.embed(self.ops.columns(patches, 0, num_values))
        numbers = self.ops.columns(self.ops.axis_positions(step, 2 + _TAPS), 2, _TAPS)
        x = self.ops.add(x, self.ops.weighted_lookup(numbers, self.ops.columns(patches, num_values, _TAPS), self.positions))
        deep = []
        for depth, block in enumerate(self.blocks):
            x = block(x, step)
            if depth in self.deep:
                deep.append(self.deep[depth](x, step))
        return (self.merger(x, step), *deep)


def _merger(weights: Weights, prefix: str, sizes: QwenSizes, out_size: int, *, squares: bool) -> SquareMerger:
    norm = LayerNorm(weights, f"{prefix}.norm", sizes.hidden_size * (sizes.square if squares else 1), NORM_EPS)
    return SquareMerger(weights, (f"{prefix}.linear_fc1", f"{prefix}.linear_fc2"), sizes, out_size, norm, norm_squares=squares)
