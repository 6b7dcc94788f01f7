"""Root-mean-square normalisation (Zhang & Sennrich 2019)."""

from __future__ import annotations

from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["RMSNorm"]


class RMSNorm:
    """Normalises each group of `size` columns: a whole row, or each head of it. Gemma stores weight - 1: `offset` is 1 there."""

    def __init__(self, weights: Weights, name: str, size: int, eps: float, *, offset: float = 0.0) -> None:
        self.ops = weights.ops
        self.weight = weights.vector({f"{name}.weight": size}, offset)
        self.eps = eps

    def __call__(self, x: Tensor) -> Tensor:
        return self.ops.rms_norm(x, self.weight, self.eps)

    def add(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (norm(x + residual), x + residual); without a residual, x is the first one."""
        if residual is None:
            return self(x), x
        return self.ops.add_rms_norm(x, residual, self.weight, self.eps)
