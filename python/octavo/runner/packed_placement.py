"""Weights where a processor's kernels want them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import ArrayWeight, EmbeddingWeight, ExpertsWeight, LinearWeight, ThreadPool
from octavo.checkpoint import RawTensor
from octavo.checkpoint.raw_linear import RawLinear

__all__ = ["PackedPlacement"]


class PackedPlacement:
    """Matrices repacked for the processor's kernels, tables left where they are mapped, small arrays in float32.

    Args:
        arithmetic: how matrices of quantised weights are multiplied, "exact" or "int8"; see `_kernels.LinearWeight`.
    """

    def __init__(self, pool: ThreadPool, arithmetic: str) -> None:
        self._pool = pool
        self._arithmetic = arithmetic

    def linear(self, parts: list[RawLinear]) -> LinearWeight:
        raws = [part.values() for part in parts]
        return LinearWeight([(raw.data, raw.format, raw.shape[0]) for raw in raws], raws[0].shape[1], self._pool, self._arithmetic)

    def embedding(self, table: RawTensor) -> EmbeddingWeight:
        return EmbeddingWeight(table.data, table.format, table.shape[0], table.shape[1])

    def experts(self, experts: list[tuple[LinearWeight, LinearWeight]]) -> ExpertsWeight:
        return ExpertsWeight(experts)

    def array(self, values: NDArray[np.float32]) -> ArrayWeight:
        return ArrayWeight(values)
