"""Weights of a checkpoint on a GPU."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import CudaDevice, Weight
from octavo.checkpoint import RawTensor
from octavo.checkpoint.raw_linear import RawLinear

__all__ = ["CudaPlacement"]


class CudaPlacement:
    """Weights in the device's element type, whatever their format in the file. A tied output head shares the embedding's memory."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._tables: dict[str, Weight] = {}

    def linear(self, parts: list[RawLinear]) -> Weight:
        if len(parts) == 1 and parts[0].name in self._tables:
            return self._device.as_linear(self._tables[parts[0].name])
        raws = [part.values() for part in parts]
        return self._device.linear([(raw.data, raw.format, raw.shape[0]) for raw in raws], parts[0].shape[1])

    def embedding(self, table: RawTensor) -> Weight:
        rows, cols = table.shape
        self._tables[_layer(table.name)] = self._device.embedding((table.data, table.format, rows), cols)
        return self._tables[_layer(table.name)]

    def experts(self, experts: list[tuple[Weight, Weight]]) -> Weight:
        return self._device.experts(experts)

    def array(self, values: NDArray[np.float32]) -> Weight:
        return self._device.array(np.ascontiguousarray(values, dtype=np.float32))

    def random_linear(self, names: tuple[str, ...], rows: int, cols: int) -> Weight:
        """A made-up matrix, the same for the same names."""
        if len(names) == 1 and names[0] in self._tables:
            return self._device.as_linear(self._tables[names[0]])
        return self._device.random_linear(rows, cols, crc32("|".join(names).encode()))

    def random_embedding(self, name: str, rows: int, cols: int) -> Weight:
        """A made-up table."""
        self._tables[_layer(name)] = self._device.random_embedding(rows, cols, crc32(name.encode()))
        return self._tables[_layer(name)]


def _layer(tensor_name: str) -> str:
    """What a linear layer of the same matrix is called."""
    return tensor_name.removesuffix(".weight")
