"""Separate codes, scales and zero points: every group size and both widths give the matrix they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import kernel_ops
from octavo import _kernels
from octavo.checkpoint.grouped import grouped_tensor


@pytest.mark.parametrize(
    ("bits", "group_size", "format"),
    [(4, 32, "U4_G32"), (4, 64, "U4_G64"), (4, 128, "U4_G128"), (4, 384, "U4_G128"), (8, 384, "U8_G128"), (8, 96, "U8_G32")],
)
@pytest.mark.parametrize("symmetric", [True, False])
def test_values(bits, group_size, format, symmetric):
    rng = np.random.default_rng(1)
    num_rows, num_cols = 40, 384
    codes = rng.integers(0, 2**bits, (num_rows, num_cols), np.uint8)
    scales = (rng.standard_normal((num_rows, num_cols // group_size)) * 0.01).astype(np.float16).astype(np.float32)
    zero_points = np.full_like(scales, 2 ** (bits - 1)) if symmetric else rng.integers(0, 2**bits, scales.shape).astype(np.float32)
    tensor = grouped_tensor("w", codes, scales, zero_points, bits)
    expected = (codes - np.repeat(zero_points, group_size, 1)) * np.repeat(scales, group_size, 1)
    assert tensor.format == format
    np.testing.assert_array_equal(_kernels.dequantize(tensor.data, tensor.format, codes.size).reshape(codes.shape), expected)
    pool = _kernels.ThreadPool(1)
    weight = _kernels.LinearWeight([(tensor.data, tensor.format, num_rows)], num_cols, pool)
    identity = np.eye(num_cols, dtype=np.float32)
    np.testing.assert_array_equal(kernel_ops.linear(identity, weight, None, pool), expected.T)


def test_bad_arguments():
    codes, scales = np.full((2, 96), 15, np.uint8), np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match="w: groups of 48 values; they must be a multiple of 32"):
        grouped_tensor("w", codes, scales, scales, 4)
    with pytest.raises(ValueError, match="w: codes must have 4 or 8 bits"):
        grouped_tensor("w", codes + 1, scales[:, :1], scales[:, :1], 4)
    with pytest.raises(ValueError, match="do not fit together"):
        grouped_tensor("w", codes, scales, scales[:, :1], 4)
