"""Pixtral's tower (Mistral AI 2024): pictures of any shape in one tile, patches rotated by row and column, gated feed-forward blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.layers.linear import Linear
from octavo.layers.mlp import GatedMLP
from octavo.layers.norm import RMSNorm
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor
from octavo.towers._llava_parts import make_projector, num_feature_blocks

__all__ = ["Tower"]

_NORM_EPS = 1e-5
_DEFAULTS = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 1024,
    "patch_size": 16,
    "hidden_act": "gelu",
}


class Tower:
    """Implements `towers.Tower`. A patch's position is its row times the patches on a side of the largest picture, plus its column."""

    tile_windows = 1

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        self.ops = weights.ops
        vision = config.section("vision_config", _DEFAULTS)
        size, heads = vision.count("hidden_size"), vision.count("num_attention_heads")
        if size % (4 * heads):
            raise vision.refused("num_attention_heads", f"it must divide a quarter of hidden_size, {size}")
        patch, num_layers = vision.count("patch_size", most=256), vision.count("num_hidden_layers")
        grid = vision.count("image_size") // patch
        rope = vision.section("rope_parameters")
        theta = rope.positive("rope_theta") if "rope_theta" in rope else vision.positive("rope_theta", 10000.0)
        table = weights.constant(_rope_table(grid, size // heads, theta))
        self.num_values = 3 * patch * patch
        self.embed = Linear(weights, {"vision_tower.patch_conv": size}, self.num_values)
        self.norm = RMSNorm(weights, "vision_tower.ln_pre", size, _NORM_EPS)
        num_blocks = num_feature_blocks(config, num_layers)
        sizes = (size, vision.count("intermediate_size"), heads, vision.name("hidden_act"))
        self.blocks = [_Block(weights, f"vision_tower.transformer.layers.{index}", *sizes, table) for index in range(num_blocks)]
        self.projector = make_projector(weights, config, size)
        self.tile_patches = grid * grid
        self.unused = tuple(f"vision_tower.transformer.layers.{index}." for index in range(num_blocks, num_layers))

    def forward(self, step: Step) -> Tensor:
        """See `towers.Tower.forward`."""
        x = self.norm(self.embed(self.ops.patches(step, self.num_values)))
        for block in self.blocks:
            x = block(x, step)
        return self.projector(self.ops.gather_rows(x, self.ops.selected(step, 1)))


class _Block:
    def __init__(
        self, weights: Weights, prefix: str, size: int, intermediate_size: int, num_heads: int, activation: str, rope: Tensor
    ) -> None:
        self.ops, self.size, self.num_heads, self.rope = weights.ops, size, num_heads, rope
        self.attention_norm = RMSNorm(weights, f"{prefix}.attention_norm", size, _NORM_EPS)
        self.qkv = Linear(weights, {f"{prefix}.attention.{part}_proj": size for part in "qkv"}, size)
        self.out = Linear(weights, {f"{prefix}.attention.o_proj": size}, size)
        self.mlp_norm = RMSNorm(weights, f"{prefix}.ffn_norm", size, _NORM_EPS)
        self.mlp = GatedMLP(weights, f"{prefix}.feed_forward", size, intermediate_size, activation)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        x = self.ops.add(x, self._attention(self.attention_norm(x), step))
        return self.ops.add(x, self.mlp(self.mlp_norm(x)))

    def _attention(self, x: Tensor, step: Step) -> Tensor:
        qkv, head_dim = self.qkv(x), self.size // self.num_heads
        q, k, v = (self.ops.columns(qkv, index * self.size, self.size) for index in range(3))
        q, k = (self.ops.rotary_embedding(step, part, self.rope, head_dim) for part in (q, k))
        heads: dict[str, Any] = {"num_heads": self.num_heads, "num_kv_heads": self.num_heads}
        return self.out(self.ops.attention(step, q, k, v, **heads, scale=head_dim**-0.5, max_distance=None))


def _rope_table(grid: int, head_dim: int, theta: float) -> NDArray[np.float32]:
    """Cosines and sines [grid * grid, head_dim]: every other frequency turns with the row, the others with the column."""
    frequencies = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    angles = np.concatenate([np.outer(rows, frequencies[0::2]), np.outer(columns, frequencies[1::2])], axis=1)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
