"""The gated delta net (Yang et al., arXiv:2412.06464): linear attention whose state forgets, and corrects what it holds of a key."""

from __future__ import annotations

import numpy as np

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.linear import Linear
from octavo.layers.mamba import CausalConv
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["GatedDeltaNet"]

_EPS = 1e-6  # added to the squares of queries and keys


class GatedDeltaNet:
    """q, k, v, gate, beta, dt = projections -> convolution of q, k, v -> unit q and k -> delta rule -> gated norm -> output projection.

    Args:
        prefix: checkpoint name of the mixer, e.g. `model.layers.0.linear_attn`. Rows of its projections stand kind by kind.
    """

    def __init__(self, weights: Weights, config: ModelConfig, prefix: str) -> None:
        delta = config.delta
        assert delta is not None
        self.ops, self.delta, self.eps = weights.ops, delta, config.norm_eps
        self.key_cols, self.value_cols = delta.num_key_heads * delta.key_dim, delta.num_heads * delta.value_dim
        self.conv_cols = 2 * self.key_cols + self.value_cols
        self.qkvz = Linear(weights, {f"{prefix}.in_proj_qkvz": self.conv_cols + self.value_cols}, config.hidden_size)
        self.ba = Linear(weights, {f"{prefix}.in_proj_ba": 2 * delta.num_heads}, config.hidden_size)
        self.conv = CausalConv(weights, f"{prefix}.conv1d", self.conv_cols, delta.conv_kernel, bias=False)
        # x / sqrt(sum(x^2) + eps) as a norm by the mean square; queries are divided by sqrt(D) once more.
        self.unit_eps = _EPS / delta.key_dim
        self.unit_q = weights.constant(np.full(delta.key_dim, 1 / delta.key_dim, np.float32))
        self.unit_k = weights.constant(np.full(delta.key_dim, delta.key_dim**-0.5, np.float32))
        decay = weights.constant(-np.exp(weights.values(f"{prefix}.A_log", (delta.num_heads,))))
        self.rule_weights = (decay, weights.vector({f"{prefix}.dt_bias": delta.num_heads}))
        self.state = weights.state(delta.num_heads * delta.key_dim * -(-delta.value_dim // 16) * 16)
        self.norm = weights.vector({f"{prefix}.norm.weight": delta.value_dim})
        self.out = Linear(weights, {f"{prefix}.out_proj": config.hidden_size}, self.value_cols)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        ops, delta, keys, values = self.ops, self.delta, self.key_cols, self.value_cols
        qkvz, ba = self.qkvz(x), self.ba(x)
        mixed = self.conv(ops.columns(qkvz, 0, self.conv_cols), step)
        q = ops.rms_norm(ops.columns(mixed, 0, keys), self.unit_q, self.unit_eps)
        k = ops.rms_norm(ops.columns(mixed, keys, keys), self.unit_k, self.unit_eps)
        y = ops.delta_rule(
            step,
            (q, k, ops.columns(mixed, 2 * keys, values)),
            ops.columns(ba, 0, delta.num_heads),
            ops.columns(ba, delta.num_heads, delta.num_heads),
            self.rule_weights,
            self.state,
            num_heads=delta.num_heads,
            num_key_heads=delta.num_key_heads,
        )
        gate = ops.columns(qkvz, self.conv_cols, values)
        return self.out(ops.gated_rms_norm(y, gate, self.norm, group_size=delta.value_dim, eps=self.eps, norm_first=True))
