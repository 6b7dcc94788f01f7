"""Normalisation of rows: by their root mean square (Zhang & Sennrich 2019), or by mean and variance (Ba et al. 2016)."""

from __future__ import annotations

import numpy as np

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["LayerNorm", "RMSNorm", "make_norm"]


class RMSNorm:
    """Normalises each group of `size` columns: a whole row, or each head of it. Gemma stores weight - 1: `offset` is 1 there.

    Args:
        name: of the weights without `.weight`; None: they are ones.
    """

    def __init__(self, weights: Weights, name: str | None, size: int, eps: float, *, offset: float = 0.0) -> None:
        self.ops = weights.ops
        named = name is not None
        self.weight = weights.vector({f"{name}.weight": size}, offset) if named else weights.constant(np.ones(size, np.float32))
        self.eps = eps

    def __call__(self, x: Tensor) -> Tensor:
        return self.ops.rms_norm(x, self.weight, self.eps)

    def add(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (norm(x + residual), x + residual); without a residual, x is the first one."""
        if residual is None:
            return self(x), x
        return self.ops.add_rms_norm(x, residual, self.weight, self.eps)


class LayerNorm:
    """As `RMSNorm`, less the mean, plus a bias where there is one."""

    def __init__(self, weights: Weights, name: str, size: int, eps: float, *, offset: float = 0.0, bias: bool = True) -> None:
        self.ops = weights.ops
        self.weight = weights.vector({f"{name}.weight": size}, offset)
        self.bias = weights.vector({f"{name}.bias": size}) if bias else None
        self.eps = eps

    def __call__(self, x: Tensor) -> Tensor:
        return self.ops.layer_norm(x, self.weight, self.bias, self.eps)

    def add(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `RMSNorm.add`."""
        total = x if residual is None else self.ops.add(x, residual)
        return self(total), total


def make_norm(weights: Weights, config: ModelConfig, name: str, *, offset: float = 0.0) -> RMSNorm | LayerNorm:
    """The norm of whole rows that the family has (`ModelConfig.norm`)."""
    if config.norm == "rms":
        return RMSNorm(weights, name, config.hidden_size, config.norm_eps, offset=offset)
    return LayerNorm(weights, name, config.hidden_size, config.norm_eps, offset=offset, bias=config.norm == "layer")
