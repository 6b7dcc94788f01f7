"""Qwen2-VL's tower (Wang et al. 2024): pictures of any shape, patches rotated by row and column."""

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
    "depth": 32,
    "embed_dim": 1280,
    "hidden_size": 3584,
    "hidden_act": "quick_gelu",
    "mlp_ratio": 4,
    "num_heads": 16,
    "patch_size": 14,
}


class Tower:
    """Implements `towers.Tower`."""

    tile_patches = MOST_PATCHES
    tile_windows = 1
    unused = ()

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        self.ops = weights.ops
        vision = config.section("vision_config", _DEFAULTS)
        self.sizes = sizes = QwenSizes.read(vision, "embed_dim")
        size, rotation = sizes.hidden_size, grid_rotation(weights, vision, sizes)
        self.embed = Linear(weights, {"visual.patch_embed.proj": size}, sizes.patch_values)
        mlp_size = int(size * vision.positive("mlp_ratio"))
        self.blocks = []
        for index in range(sizes.num_layers):
            prefix = f"visual.blocks.{index}"
            names = (f"{prefix}.mlp.fc1", f"{prefix}.mlp.fc2")
            mlp = PlainMLP(weights, *names, size, mlp_size, vision.name("hidden_act"), bias=True)
            norms = (LayerNorm(weights, f"{prefix}.norm1", size, NORM_EPS), LayerNorm(weights, f"{prefix}.norm2", size, NORM_EPS))
            self.blocks.append(RotatedBlock(weights, prefix, sizes, rotation, norms, mlp))
        norm = LayerNorm(weights, "visual.merger.ln_q", size, NORM_EPS)
        self.merger = SquareMerger(weights, ("visual.merger.mlp.0", "visual.merger.mlp.2"), sizes, vision.count("hidden_size"), norm)

    def forward(self, step: Step) -> Tensor:
        """See `towers.Tower.forward`."""
        x = self.embed(self.ops.patches(step, self.sizes.patch_values))
        for block in self.blocks:
            x = block(x, step)
        return self.merger(x, step)
