"""What the towers of Qwen's models share: hyper-parameters, a block whose patches are rotated by row and column, squares into rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.media_family import MOST_PATCHES
from octavo.layers.axis_rotation import AxisRotation
from octavo.layers.linear import Linear
from octavo.layers.mlp import PlainMLP
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["NORM_EPS", "QwenSizes", "RotatedBlock", "SquareMerger", "grid_rotation"]

NORM_EPS = 1e-6
_THETA = 10000.0


@dataclass(frozen=True, slots=True)
class QwenSizes:
    """Hyper-parameters. `patch_values`: of one patch, channels first; `square`: patches that become one row of the decoder."""

    hidden_size: int
    num_layers: int
    num_heads: int
    patch_values: int
    square: int

    @classmethod
    def read(cls, vision: ConfigKeys, size_key: str = "hidden_size") -> QwenSizes:
        """Of a `vision_config` whose keys have their class's defaults. Raises `CheckpointError` naming a key that makes no sense."""
        patch, frames = vision.count("patch_size", most=256), vision.count("temporal_patch_size", 2, most=16)
        sizes = cls(
            hidden_size=vision.count(size_key),
            num_layers=vision.count("depth", most=4096),
            num_heads=vision.count("num_heads", most=8192),
            patch_values=vision.count("in_channels", 3, least=3, most=3) * frames * patch**2,
            square=vision.count("spatial_merge_size", 2, most=16) ** 2,
        )
        if sizes.hidden_size % (4 * sizes.num_heads):
            raise vision.refused("num_heads", f"it must divide a quarter of {size_key}, {sizes.hidden_size}")
        return sizes


def grid_rotation(weights: Weights, vision: ConfigKeys, sizes: QwenSizes, num_columns: int = 2) -> AxisRotation:
    """Half of a head's angles turn with a patch's row, the others with its column. `num_columns`: numbers that come with a patch."""
    rope = vision.section("rope_parameters")
    theta = rope.positive("rope_theta", _THETA)
    if rope.name("rope_type", "axial") not in ("axial", "default"):
        raise rope.refused("rope_type", "a tower's is axial")
    num_angles = sizes.hidden_size // sizes.num_heads // 4
    frequencies = (np.float32(1) / np.float32(theta) ** (np.arange(num_angles, dtype=np.float32) / num_angles)).astype(np.float32)
    angles = np.arange(MOST_PATCHES, dtype=np.float32)[:, None] * np.tile(frequencies, 2)
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return AxisRotation(weights, table, [0] * num_angles + [1] * num_angles, num_columns)


class RotatedBlock:
    """norm -> attention -> add -> norm -> feed-forward -> add.

    Args:
        norms: before attention and before the feed-forward block.
        windowed: whether a patch sees its window instead of the whole picture.
    """

    def __init__(
        self,
        weights: Weights,
        prefix: str,
        sizes: QwenSizes,
        rotation: AxisRotation,
        norms: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
        mlp: Callable[[Tensor], Tensor],
        *,
        windowed: bool = False,
    ) -> None:
        self.ops, self.rotation, self.mlp, self.windowed = weights.ops, rotation, mlp, windowed
        self.size, self.num_heads = sizes.hidden_size, sizes.num_heads
        self.norm1, self.norm2 = norms
        self.qkv = Linear(weights, {f"{prefix}.attn.qkv": 3 * self.size}, self.size, bias=True)
        self.out = Linear(weights, {f"{prefix}.attn.proj": self.size}, self.size, bias=True)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        x = self.ops.add(x, self._attention(self.norm1(x), step))
        return self.ops.add(x, self.mlp(self.norm2(x)))

    def _attention(self, x: Tensor, step: Step) -> Tensor:
        qkv, head_dim = self.qkv(x), self.size // self.num_heads
        q, k, v = (self.ops.columns(qkv, index * self.size, self.size) for index in range(3))
        q, k = self.rotation(step, q, head_dim), self.rotation(step, k, head_dim)
        heads: dict[str, Any] = {"num_heads": self.num_heads, "num_kv_heads": self.num_heads}
        attended = self.ops.attention(step, q, k, v, **heads, scale=head_dim**-0.5, max_distance=None, windowed=self.windowed)
        return self.out(attended)


class SquareMerger:
    """The patches of a square side by side, normalised before or after that, through two linear layers."""

    def __init__(
        self,
        weights: Weights,
        names: tuple[str, str],
        sizes: QwenSizes,
        out_size: int,
        norm: Callable[[Tensor], Tensor],
        *,
        norm_squares: bool = False,
    ) -> None:
        self.ops, self.square, self.norm, self.norm_squares = weights.ops, sizes.square, norm, norm_squares
        size = sizes.hidden_size * sizes.square
        self.mlp = PlainMLP(weights, *names, size, size, "gelu", bias=True, out_size=out_size)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        selected = self.ops.selected(step, self.square)
        if self.norm_squares:
            return self.mlp(self.norm(self.ops.gather_rows(x, selected)))
        return self.mlp(self.ops.gather_rows(self.norm(x), selected))
