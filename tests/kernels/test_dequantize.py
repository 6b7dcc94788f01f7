"""Storage formats: sizes and values, against the reference implementation of the `gguf` package."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from fakes.weight_blocks import FORMATS, GROUPS, block_elements, expected_values, random_blocks
from octavo import _kernels


def test_formats_are_all_there() -> None:
    assert set(_kernels.formats()) == set(FORMATS)


@pytest.mark.parametrize("format", [format for format in FORMATS if format not in GROUPS])
def test_format_bytes(format: str) -> None:
    elements, num_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[format]]
    assert _kernels.format_bytes(format, 5 * elements) == 5 * num_bytes


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_dequantize_is_exact(format: str, extreme: bool) -> None:
    num_elements = 300 * block_elements(format)
    data = random_blocks(format, num_elements, np.random.default_rng(1), extreme=extreme)
    values = _kernels.dequantize(data, format, num_elements)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected_values(data, format))


def test_every_half_float_widens_exactly() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    values = _kernels.dequantize(halves.view(np.uint8), "F16", len(halves))
    expected = halves.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(values, expected)  # NaN where NaN
    np.testing.assert_array_equal(np.signbit(values), np.signbit(expected))


def test_unaligned_data() -> None:
    data = random_blocks("Q4_1", 320, np.random.default_rng(2))
    shifted = np.concatenate([np.zeros(1, np.uint8), data])[1:]
    np.testing.assert_array_equal(_kernels.dequantize(shifted, "Q4_1", 320), expected_values(data, "Q4_1"))


def test_bad_arguments() -> None:
    data = np.zeros(40, np.uint8)
    with pytest.raises(ValueError, match="Q9_9 is not known"):
        _kernels.format_bytes("Q9_9", 32)
    with pytest.raises(ValueError, match="whole blocks of 32"):
        _kernels.format_bytes("Q4_0", 31)
    with pytest.raises(ValueError, match="whole blocks"):
        _kernels.format_bytes("Q4_0", -32)
    with pytest.raises(ValueError, match="40 bytes, expected 20"):
        _kernels.dequantize(data, "Q4_1", 32)
    with pytest.raises(ValueError, match="dtype"):
        _kernels.dequantize(data.astype(np.int16), "Q4_1", 64)
