"""How a linear layer's matrix is read: by the layer's name, into one neutral form that a placement packs for its device.

A method knows how files of one kind store a matrix; the layers that ask and the devices that pack know no file. GGUF's blocks, plain
safetensors and made-up weights are read by `StoredMethod`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.raw_tensor import RawTensor
from octavo.errors import CheckpointError

__all__ = ["Codes", "LinearMethod", "RawLinear", "StoredMethod", "TakeTensor"]

TakeTensor = Callable[[str, tuple[int, ...]], RawTensor]
"""Reads the tensor of a name and a shape; raises `CheckpointError` when it is missing or has another shape."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A quantised matrix [N, K] as its file stores it: value = (code - zero) * scale.

    Attributes:
        codes: packed as they are stored.
        bits: of a code.
        group: columns that share a scale; None: a whole row does.
        scales: [N, K / group].
        zeros: as `scales`; None for signed codes.
        order: the group of each column, int32 [K], where columns are not grouped in their own order; None otherwise.
        block: (rows, columns) that share a scale instead of a group; None without.
        input_scale: what activations are divided by before they are rounded; None where they are not.
    """

    codes: RawTensor
    bits: int
    group: int | None
    scales: RawTensor
    zeros: RawTensor | None = None
    order: NDArray[np.int32] | None = None
    block: tuple[int, int] | None = None
    input_scale: float | None = None


@dataclass(frozen=True, slots=True)
class RawLinear:
    """The matrix of a linear layer before any device has packed it.

    Attributes:
        name: of the layer, without `.weight`.
        shape: [rows, columns] of the matrix, whatever the codes' own shape is.
        stored: its values in a format of `BLOCK_FORMATS`, which hold their scales themselves; or codes with scales beside them.
    """

    name: str
    shape: tuple[int, int]
    stored: RawTensor | Codes

    def values(self) -> RawTensor:
        """The values. Raises `CheckpointError` for codes, which the placement that asks cannot pack."""
        if isinstance(self.stored, Codes):
            raise CheckpointError(f"{self.name}: codes of {self.stored.bits} bits with scales beside them cannot be packed for this device")
        return self.stored


class LinearMethod(Protocol):
    """Reads the matrices of one kind of file."""

    def read(self, take: TakeTensor, name: str, shape: tuple[int, int]) -> RawLinear:
        """The matrix of the linear layer `name`. Raises `CheckpointError` when a tensor is missing or misshapen."""
        ...


class StoredMethod:
    """The matrix is one tensor, `<name>.weight`, of plain values or of blocks that hold their scales."""

    def read(self, take: TakeTensor, name: str, shape: tuple[int, int]) -> RawLinear:
        """See `LinearMethod.read`."""
        return RawLinear(name, shape, take(f"{name}.weight", shape))
