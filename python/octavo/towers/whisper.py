"""Whisper's encoder (Radford et al. 2022): log-mel frames through two convolutions over time and blocks, then what each layer of the
decoder attends to: its keys and values, side by side.
"""

from __future__ import annotations

import numpy as np

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.layers.linear import Linear
from octavo.layers.norm import LayerNorm
from octavo.layers.vision import VisionBlock, VisionSizes
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["Tower"]

_TAPS = 3
_EPS = 1e-5
_DEFAULTS = {
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "decoder_layers": 4,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "activation_function": "gelu",
}


class _Frames:
    """Two convolutions of three taps, the second of stride two, with a GELU behind each; then a row for each position.

    Position t comes of the first convolution's outputs 2 t - 1, 2 t and 2 t + 1. Its token has seven frames: the three that make the first
    of these outputs, and the four that make the other two. Before output 0 stand zeros: no frames and no bias.
    """

    def __init__(self, weights: Weights, mels: int, size: int, num_positions: int) -> None:
        self.ops, self.mels = weights.ops, mels
        self.num_values = 7 * mels
        self.inner = [Linear(weights, {f"encoder.conv1.tap{tap}": size}, mels) for tap in range(_TAPS)]
        bias = np.tile(weights.values("encoder.conv1.bias", (size,)), (num_positions, 1))
        self.bias = weights.table(bias)
        self.first_bias = weights.table(np.concatenate([np.zeros_like(bias[:1]), bias[1:]]))
        self.outer = [Linear(weights, {f"encoder.conv2.tap{tap}": size}, size) for tap in range(_TAPS)]
        self.outer_bias = weights.table(np.tile(weights.values("encoder.conv2.bias", (size,)), (num_positions, 1)))
        self.positions = weights.embedding("encoder.embed_positions.weight", num_positions, size)

    def __call__(self, frames: Tensor, step: Step) -> Tensor:
        ops = self.ops
        x = ops.position_embedding(step, self.outer_bias, 0)
        for tap, first_frame in enumerate((0, 3, 4)):
            made = ops.position_embedding(step, self.bias if tap else self.first_bias, 0)
            for frame, linear in enumerate(self.inner, first_frame):
                made = ops.add(made, linear(ops.columns(frames, frame * self.mels, self.mels)))
            x = ops.add(x, self.outer[tap](ops.gelu(made)))
        return ops.add(ops.gelu(x), ops.position_embedding(step, self.positions, 0))


class Tower:
    """Implements `towers.Tower`: frames of 30 seconds in, [positions, layers * 2 * E] out."""

    tile_windows = 1
    unused = ()

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        self.ops = weights.ops
        keys = config.with_defaults(_DEFAULTS)
        mels, size = keys.count("num_mel_bins", most=1024), keys.count("d_model")
        sizes = VisionSizes(
            hidden_size=size,
            intermediate_size=keys.count("encoder_ffn_dim"),
            num_layers=keys.count("encoder_layers", most=4096),
            num_heads=keys.count("encoder_attention_heads", most=8192),
            grid=1,
            patch_values=7 * mels,
            norm_eps=_EPS,
            activation=keys.name("activation_function"),
        )
        if size % sizes.num_heads:
            raise keys.refused("encoder_attention_heads", f"d_model, {size}, must be a multiple of it")
        self.tile_patches = keys.count("max_source_positions")
        self.frames = _Frames(weights, mels, size, self.tile_patches)
        names = {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm", "fc1": "fc1", "fc2": "fc2"}
        self.blocks = [
            VisionBlock(weights, f"encoder.layers.{index}", sizes, names=names, k_bias=False) for index in range(sizes.num_layers)
        ]
        self.norm = LayerNorm(weights, "encoder.layer_norm", size, _EPS)
        prefixes = [f"decoder.layers.{index}.encoder_attn" for index in range(keys.count("decoder_layers", most=4096))]
        parts = {f"{prefix}.{part}_proj": size for prefix in prefixes for part in "kv"}
        self.keys_values = Linear(weights, parts, size, bias=True, unbiased="k_proj")

    def forward(self, step: Step) -> Tensor:
        """See `towers.Tower.forward`."""
        x = self.frames(self.ops.patches(step, self.frames.num_values), step)
        for block in self.blocks:
            x = block(x, step)
        return self.ops.gather_rows(self.keys_values(self.norm(x)), self.ops.selected(step, 1))
