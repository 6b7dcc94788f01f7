"""Linear layers, one matrix or several fused into one."""

from __future__ import annotations

from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["Linear"]


class Linear:
    """y = x @ W.T + b with W [out_features, in_features].

    `parts` maps checkpoint names (without `.weight`) to their rows; several are computed as one matrix.
    """

    def __init__(self, weights: Weights, parts: dict[str, int], in_features: int, *, bias: bool = False) -> None:
        self.ops = weights.ops
        self.weight = weights.linear(parts, in_features)
        self.bias = weights.vector({f"{name}.bias": rows for name, rows in parts.items()}) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return self.ops.linear(x, self.weight, self.bias)
