"""Qwen2.5-VL's tower (Bai et al. 2025): gated feed-forward blocks, RMS norms, and windows in all blocks but a few."""

from __future__ import annotations

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.media_family import MOST_PATCHES
from octavo.layers.linear import Linear
from octavo.layers.mlp import GatedMLP
from octavo.layers.norm import RMSNorm
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor
from octavo.towers._qwen_parts import NORM_EPS, QwenSizes, RotatedBlock, SquareMerger, grid_rotation

__all__ = ["Tower"]

_DEFAULTS = {
    "depth": 32,
    "hidden_size": 3584,
    "hidden_act": "silu",
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "window_size": 112,
    "out_hidden_size": 3584,
    "fullatt_block_indexes": [7, 15, 23, 31],
}


class Tower:
    """Implements `towers.Tower`."""

    tile_patches = MOST_PATCHES
    unused = ()

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        self.ops = weights.ops
        vision = config.section("vision_config", _DEFAULTS)
        self.sizes = sizes = QwenSizes.read(vision)
        size, rotation = sizes.hidden_size, grid_rotation(weights, vision, sizes)
        self.embed = Linear(weights, {"visual.patch_embed.proj": size}, sizes.patch_values)
        mlp_size, whole = vision.count("intermediate_size"), vision.counts("fullatt_block_indexes")
        self.blocks = []
        for index in range(sizes.num_layers):
            prefix = f"visual.blocks.{index}"
            mlp = GatedMLP(weights, f"{prefix}.mlp", size, mlp_size, vision.name("hidden_act"), bias=True)
            norms = (RMSNorm(weights, f"{prefix}.norm1", size, NORM_EPS), RMSNorm(weights, f"{prefix}.norm2", size, NORM_EPS))
            self.blocks.append(RotatedBlock(weights, prefix, sizes, rotation, norms, mlp, windowed=index not in whole))
        norm = RMSNorm(weights, "visual.merger.ln_q", size, NORM_EPS)
        self.merger = SquareMerger(weights, ("visual.merger.mlp.0", "visual.merger.mlp.2"), sizes, vision.count("out_hidden_size"), norm)
        # A window of one row of squares is the smallest that many of fit into a picture.
        side = max(1, int((vision.count("window_size") // vision.count("patch_size")) // sizes.square**0.5))
        self.tile_windows = MOST_PATCHES // (side * sizes.square) + 1

    def forward(self, step: Step) -> Tensor:
        """See `towers.Tower.forward`."""
        x = self.embed(self.ops.patches(step, self.sizes.patch_values))
        for block in self.blocks:
            x = block(x, step)
        return self.merger(x, step)
