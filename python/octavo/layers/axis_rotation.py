"""Rotary embedding of positions with several axes (M-RoPE; Wang et al. 2024): a table of angles, and which axis turns which of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["AxisRotation"]


class AxisRotation:
    """The rotation of a step's tokens, made once for all layers that share it.

    Args:
        table: float32 [positions, 2 C]: cosines and sines, as `rope_table` makes them.
        axes: the axis of each of the C angles.
        num_columns: numbers that come with a token, the first of which are its positions; None: no others.
    """

    def __init__(self, weights: Weights, table: NDArray[np.float32], axes: Sequence[int], num_columns: int | None = None) -> None:
        self._ops = weights.ops
        self._num_columns = num_columns or max(axes) + 1
        self._table = weights.constant(table)
        self._axes = weights.constant(np.array(axes, np.float32))
        self._made: tuple[Step, Tensor] | None = None

    def __call__(self, step: Step, x: Tensor, head_dim: int) -> Tensor:
        """Rotate each head of x [T, n * head_dim]."""
        if self._made is None or self._made[0] is not step:
            positions = self._ops.axis_positions(step, self._num_columns)
            self._made = step, self._ops.axis_rotation(positions, self._table, self._axes)
        return self._ops.rotate(x, self._made[1], head_dim)
