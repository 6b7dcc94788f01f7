"""Codes, scales and zero points that lie in tensors of their own, joined into the blocks that kernels are packed from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.raw_tensor import RawTensor

__all__ = ["grouped_tensor"]

_GROUP_SIZES = {4: (128, 64, 32), 8: (128, 32)}


def grouped_tensor(
    name: str, codes: NDArray[np.uint8], scales: NDArray[np.float32], zero_points: NDArray[np.float32], bits: int
) -> RawTensor:
    """A matrix [N, K] with values (code - zero point) * scale, as GPTQ, AWQ and compressed-tensors store them.

    Args:
        codes: [N, K], one code per byte, below 2**bits. Signed codes: add 2**(bits - 1) to them and to the zero points.
        scales: [N, K / group], any group that is a multiple of 32; one group for the whole row is "per channel".
        zero_points: as scales; 8 (4 bits) or 128 (8 bits) throughout for symmetric codes.
        bits: 4 or 8.

    Raises:
        ValueError: shapes that do not fit, a group that is no multiple of 32, or codes beyond `bits`.
    """
    num_rows, num_cols = codes.shape
    num_groups = scales.shape[1]
    if scales.shape != (num_rows, num_groups) or zero_points.shape != scales.shape or num_groups == 0 or num_cols % num_groups:
        raise ValueError(f"{name}: codes {codes.shape}, scales {scales.shape} and zero points {zero_points.shape} do not fit together")
    group_size = num_cols // num_groups
    if bits not in _GROUP_SIZES or codes.max(initial=0) >> bits:
        raise ValueError(f"{name}: codes must have 4 or 8 bits and be below 2**bits; the largest of {bits} bits is {codes.max(initial=0)}")
    block_size = next((size for size in _GROUP_SIZES[bits] if group_size % size == 0), None)
    if block_size is None:
        raise ValueError(f"{name}: groups of {group_size} values; they must be a multiple of 32")
    blocks = np.empty((num_rows, num_groups, group_size // block_size), [("scale", "<f4"), ("min", "<f4"), ("codes", "u1", (block_size,))])
    blocks["codes"] = codes.reshape(blocks["codes"].shape)
    blocks["scale"] = scales[:, :, None]
    blocks["min"] = (-zero_points * scales)[:, :, None]
    return RawTensor(name, codes.shape, f"U{bits}_G{block_size}", blocks.reshape(-1).view(np.uint8))
