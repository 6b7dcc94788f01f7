"""The mixer of Mamba-2 (Dao & Gu, arXiv:2405.21060), which keeps a state for each sequence instead of its tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.model_config import SsmConfig
from octavo.layers.linear import Linear
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["CausalConv", "Mamba2Mixer"]


class CausalConv:
    """A convolution of each column over the last tokens, then the SiLU. Keeps the tokens before as a state.

    Args:
        scales: [num_cols] factors of what goes in; None: ones.
    """

    def __init__(
        self, weights: Weights, prefix: str, num_cols: int, kernel: int, *, bias: bool, scales: NDArray[np.float32] | None = None
    ) -> None:
        self.ops = weights.ops
        taps = weights.values(f"{prefix}.weight", (num_cols, 1, kernel)).reshape(num_cols, kernel)
        self.weight = weights.constant(taps.T if scales is None else taps.T * scales)
        self.bias = weights.vector({f"{prefix}.bias": num_cols}) if bias else None
        self.state = weights.state((kernel - 1) * num_cols)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        return self.ops.causal_conv(step, x, self.weight, self.bias, self.state)


class Mamba2Mixer:
    """gate, x, b, c, dt = projection -> convolution of x, b, c -> selective scan -> gated norm -> output projection.

    Args:
        prefix: checkpoint name of the mixer, e.g. `model.layers.0.mamba`.
    """

    def __init__(self, weights: Weights, ssm: SsmConfig, hidden_size: int, prefix: str) -> None:
        self.ops, self.ssm = weights.ops, ssm
        self.inner, self.shared = ssm.num_heads * ssm.head_dim, ssm.num_groups * ssm.state_size
        self.conv_cols = self.inner + 2 * self.shared
        projected = self.inner + self.conv_cols + ssm.num_heads
        self.projection = Linear(weights, {f"{prefix}.in_proj": projected}, hidden_size, bias=ssm.proj_bias)
        self.conv = CausalConv(weights, f"{prefix}.conv1d", self.conv_cols, ssm.conv_kernel, bias=ssm.conv_bias, scales=self._conv_scales())
        decay = weights.constant(-np.exp(weights.values(f"{prefix}.A_log", (ssm.num_heads,))))
        self.scan_weights = (decay, *(weights.vector({f"{prefix}.{name}": ssm.num_heads}) for name in ("dt_bias", "D")))
        self.state = weights.state(ssm.num_heads * ssm.state_size * -(-ssm.head_dim // 16) * 16)
        self.norm = weights.vector({f"{prefix}.norm.weight": self.inner}) if ssm.norm != "none" else None
        out_bias = ssm.proj_bias if ssm.out_bias is None else ssm.out_bias
        self.out = Linear(weights, {f"{prefix}.out_proj": hidden_size}, self.inner, bias=out_bias)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        ops, ssm, inner, shared = self.ops, self.ssm, self.inner, self.shared
        projected = self.projection(x)
        mixed = self.conv(ops.columns(projected, inner, self.conv_cols), step)
        y = ops.ssm_scan(
            step,
            ops.columns(mixed, 0, inner),
            ops.columns(mixed, inner, shared),
            ops.columns(mixed, inner + shared, shared),
            self._scaled(ops.columns(projected, inner + self.conv_cols, ssm.num_heads), 4),
            self.scan_weights,
            self.state,
            num_heads=ssm.num_heads,
            num_groups=ssm.num_groups,
            dt_min=ssm.dt_min,
            dt_max=ssm.dt_max,
        )
        gate, group = self._scaled(ops.columns(projected, 0, inner), 0), inner // ssm.num_groups
        if self.norm is None:
            return self.out(ops.mul(y, ops.silu(gate)))
        norm_first = ssm.norm == "before"
        return self.out(ops.gated_rms_norm(y, gate, self.norm, group_size=group, eps=ssm.norm_eps, norm_first=norm_first))

    def _conv_scales(self) -> NDArray[np.float32] | None:
        if self.ssm.scales is None:
            return None
        of_x, of_b, of_c = self.ssm.scales.projected[1:4]
        return np.repeat(np.array([of_x, of_b, of_c], np.float32), [self.inner, self.shared, self.shared])

    def _scaled(self, part: Tensor, index: int) -> Tensor:
        return part if self.ssm.scales is None else self.ops.scale(part, self.ssm.scales.projected[index])
