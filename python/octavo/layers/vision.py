"""Layers of vision transformers (Dosovitskiy et al. 2021): patches to rows, and blocks in which all patches of a tile see each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.layers.linear import Linear
from octavo.layers.mlp import PlainMLP
from octavo.layers.norm import LayerNorm
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["PatchEmbedding", "VisionBlock", "VisionSizes"]


@dataclass(frozen=True, slots=True)
class VisionSizes:
    """Hyper-parameters that all towers share.

    Attributes:
        grid: patches on a side of the largest tile.
        patch_values: of one patch, channels first.
    """

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    grid: int
    patch_values: int
    norm_eps: float
    activation: str

    @classmethod
    def read(cls, keys: ConfigKeys) -> VisionSizes:
        """Of a `vision_config` whose keys have their class's defaults. Raises `CheckpointError` naming a key that makes no sense."""
        sizes = cls(
            hidden_size=keys.count("hidden_size"),
            intermediate_size=keys.count("intermediate_size"),
            num_layers=keys.count("num_hidden_layers"),
            num_heads=keys.count("num_attention_heads"),
            grid=keys.count("image_size") // keys.count("patch_size"),
            patch_values=keys.count("num_channels", 3, least=3, most=3) * keys.count("patch_size", most=256) ** 2,
            norm_eps=keys.positive("layer_norm_eps"),
            activation=keys.name("hidden_act"),
        )
        if sizes.hidden_size % sizes.num_heads:
            raise keys.refused("num_attention_heads", f"a divisor of hidden_size, {sizes.hidden_size}, is needed")
        if not sizes.grid:
            raise keys.refused("patch_size", "it must not be larger than image_size")
        return sizes


class PatchEmbedding:
    """A linear layer over each patch, plus a learned row for its position.

    Args:
        prefix: checkpoint name of the embeddings.
        class_token: whether position 0 belongs to a learned token before the patches, whose patch is all zeros.
    """

    def __init__(self, weights: Weights, prefix: str, sizes: VisionSizes, *, bias: bool, class_token: bool) -> None:
        self.ops = weights.ops
        self.num_values = sizes.patch_values
        self.linear = Linear(weights, {f"{prefix}.patch_embedding": sizes.hidden_size}, sizes.patch_values, bias=bias)
        num_positions = sizes.grid**2 + class_token
        name = f"{prefix}.position_embedding.weight"
        if class_token:
            table = weights.values(name, (num_positions, sizes.hidden_size)).copy()
            table[0] += weights.values(f"{prefix}.class_embedding", (sizes.hidden_size,))
            self.positions = weights.table(np.ascontiguousarray(table))
        else:
            self.positions = weights.embedding(name, num_positions, sizes.hidden_size)

    def __call__(self, patches: Tensor, step: Step) -> Tensor:
        return self.ops.add(self.linear(patches), self.ops.position_embedding(step, self.positions, 0))


_CLIP_NAMES = {"norm1": "layer_norm1", "norm2": "layer_norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


class VisionBlock:
    """norm -> attention -> add -> norm -> feed-forward -> add, as CLIP (Radford et al. 2021) and SigLIP (Zhai et al. 2023) have it.

    Args:
        names: what files call norm1, norm2, fc1 and fc2, where it is not what CLIP's do.
        k_bias: whether the projection of keys has a bias, as the others have.
    """

    def __init__(
        self, weights: Weights, prefix: str, sizes: VisionSizes, *, names: Mapping[str, str] = _CLIP_NAMES, k_bias: bool = True
    ) -> None:
        self.ops = weights.ops
        size = sizes.hidden_size
        self.size, self.num_heads = size, sizes.num_heads
        self.scale = (size // sizes.num_heads) ** -0.5
        self.norm1 = LayerNorm(weights, f"{prefix}.{names['norm1']}", size, sizes.norm_eps)
        self.qkv = Linear(
            weights, {f"{prefix}.self_attn.{part}_proj": size for part in "qkv"}, size, bias=True, unbiased=None if k_bias else "k_proj"
        )
        self.out = Linear(weights, {f"{prefix}.self_attn.out_proj": size}, size, bias=True)
        self.norm2 = LayerNorm(weights, f"{prefix}.{names['norm2']}", size, sizes.norm_eps)
        matrices = (f"{prefix}.{names['fc1']}", f"{prefix}.{names['fc2']}")
        self.mlp = PlainMLP(weights, *matrices, size, sizes.intermediate_size, sizes.activation, bias=True)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        x = self.ops.add(x, self._attention(self.norm1(x), step))
        return self.ops.add(x, self.mlp(self.norm2(x)))

    def _attention(self, x: Tensor, step: Step) -> Tensor:
        qkv = self.qkv(x)
        q, k, v = (self.ops.columns(qkv, index * self.size, self.size) for index in range(3))
        heads: dict[str, Any] = {"num_heads": self.num_heads, "num_kv_heads": self.num_heads}
        return self.out(self.ops.attention(step, q, k, v, **heads, scale=self.scale, max_distance=None))
