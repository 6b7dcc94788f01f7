"""Slopes of attention with linear biases (Press et al. 2022): a geometric series over the heads, in the two orders that models have."""

from __future__ import annotations

import math

__all__ = ["alibi_slopes", "alibi_slopes_interleaved"]


def alibi_slopes(num_heads: int) -> tuple[float, ...]:
    """The paper's: of a number that is no power of two, those of the next lower one, then every other one of the next higher."""
    lower = 2 ** math.floor(math.log2(num_heads))
    return (*_series(lower, 8.0), *_series(2 * lower, 8.0)[::2][: num_heads - lower])


def alibi_slopes_interleaved(num_heads: int, largest: float) -> tuple[float, ...]:
    """MPT's: of a number that is no power of two, the second, fourth, ... of the next higher one, then the first, third, ..."""
    higher = 2 ** math.ceil(math.log2(num_heads))
    series = _series(higher, largest)
    return series if higher == num_heads else (*series[1::2], *series[::2])[:num_heads]


def _series(count: int, largest: float) -> tuple[float, ...]:
    """2^(-largest / count), 2^(-2 largest / count), ... 2^-largest."""
    return tuple(2.0 ** (-largest * (index + 1) / count) for index in range(count))
