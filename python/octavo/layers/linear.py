"""Linear layers, one matrix or several fused into one."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["Linear"]


class Linear:
    """y = x @ W.T + b with W [out_features, in_features].

    `parts` maps checkpoint names (without `.weight`) to their rows; several are computed as one matrix. `unbiased`: what the names of
    those end in that have no bias where the others have one.
    """

    def __init__(
        self, weights: Weights, parts: dict[str, int], in_features: int, *, bias: bool = False, unbiased: str | None = None
    ) -> None:
        self.ops = weights.ops
        self.weight = weights.linear(parts, in_features)
        self.bias = _bias(weights, parts, unbiased) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return self.ops.linear(x, self.weight, self.bias)


def _bias(weights: Weights, parts: dict[str, int], unbiased: str | None) -> Any:
    if unbiased is None:
        return weights.vector({f"{name}.bias": rows for name, rows in parts.items()})
    biases = [
        np.zeros(rows, np.float32) if name.endswith(unbiased) else weights.values(f"{name}.bias", (rows,)) for name, rows in parts.items()
    ]
    return weights.constant(np.concatenate(biases))
