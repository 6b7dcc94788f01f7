"""Heads of classifiers: from hidden states to logits."""

from __future__ import annotations

from collections.abc import Callable

from octavo.layers.linear import Linear
from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["DenseHead", "Head"]

Head = Callable[[Tensor], Tensor]
"""From hidden states [rows, E] to a classifier's logits [rows, labels]."""


class DenseHead:
    """out(act(dense(x))), the head of BERT and its like."""

    def __init__(
        self, weights: Weights, dense: str, out: str, hidden_size: int, num_labels: int, activation: Callable[[Tensor], Tensor]
    ) -> None:
        self.dense = Linear(weights, {dense: hidden_size}, hidden_size, bias=True)
        self.activation = activation
        self.out = Linear(weights, {out: num_labels}, hidden_size, bias=True)

    def __call__(self, x: Tensor) -> Tensor:
        return self.out(self.activation(self.dense(x)))
