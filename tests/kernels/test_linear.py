"""linear and embedding: right against float64, and bit by bit the same however rows are batched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import kernel_ops
from fakes.weight_blocks import FORMATS, block_elements, expected_values, random_blocks
from octavo import _kernels

Parts = list[tuple[NDArray[np.uint8], str, int]]


@pytest.fixture(params=[1, 3])
def pool(request: pytest.FixtureRequest) -> Any:
    return _kernels.ThreadPool(request.param)


def make_parts(formats_and_rows: list[tuple[str, int]], num_cols: int, seed: int = 0) -> tuple[Parts, NDArray[np.float32]]:
    """Parts for LinearWeight, and the matrix [N, K] they stand for."""
    rng = np.random.default_rng(seed)
    parts = [(random_blocks(format, rows * num_cols, rng), format, rows) for format, rows in formats_and_rows]
    matrices = [expected_values(data, format).reshape(rows, num_cols) for data, format, rows in parts]
    return parts, np.concatenate(matrices)


def assert_close(y: NDArray[np.float32], x: NDArray[np.float32], matrix: NDArray[np.float32], bias: NDArray[np.float32] | None) -> None:
    """Within the error bound of a float32 sum of K products, two roundings each."""
    exact = x.astype(np.float64) @ matrix.T.astype(np.float64) + (0 if bias is None else bias)
    magnitude = np.abs(x).astype(np.float64) @ np.abs(matrix).T.astype(np.float64) + np.abs(exact)
    assert y.shape == exact.shape
    assert np.all(np.abs(y - exact) <= 2.0**-23 * (matrix.shape[1] + 2) * magnitude)


def odd_cols(format: str) -> list[int]:
    """One block, some blocks, and more than the tile of any instruction set holds; not even where the format allows."""
    return [1, 33, 1055] if block_elements(format) == 1 else [block_elements(format), 3 * block_elements(format), 1280]


@pytest.mark.parametrize("format", FORMATS)
def test_linear_is_right(isa: str, format: str) -> None:
    pool = _kernels.ThreadPool(2)
    rng = np.random.default_rng(3)
    for num_cols in odd_cols(format):
        for num_rows in (1, 40, 101):  # less than a panel; not whole panels
            parts, matrix = make_parts([(format, num_rows)], num_cols)
            weight = _kernels.LinearWeight(parts, num_cols, pool)
            assert (weight.num_rows, weight.num_cols) == (num_rows, num_cols)
            for num_tokens in (1, 2, 3, 7, 33):
                x = rng.standard_normal((num_tokens, num_cols), np.float32)
                assert_close(kernel_ops.linear(x, weight, None, pool), x, matrix, None)


@pytest.mark.parametrize("format", FORMATS)
def test_row_does_not_depend_on_its_batch(isa: str, format: str, pool: Any) -> None:
    num_cols = 1055 if block_elements(format) == 1 else 1280
    parts, _ = make_parts([(format, 101)], num_cols)
    weight = _kernels.LinearWeight(parts, num_cols, pool)
    rng = np.random.default_rng(4)
    x = rng.standard_normal((100, num_cols), np.float32)
    bias = rng.standard_normal(101, np.float32)
    alone = np.concatenate([kernel_ops.linear(x[i : i + 1], weight, bias, pool) for i in range(len(x))])
    for num_tokens in (2, 3, 4, 5, 7, 8, 13, 16, 17, 33, 100):
        for first in (0, 100 - num_tokens):
            together = kernel_ops.linear(np.ascontiguousarray(x[first : first + num_tokens]), weight, bias, pool)
            np.testing.assert_array_equal(together.view(np.uint32), alone[first : first + num_tokens].view(np.uint32))


def test_zero_rows(isa: str, pool: Any) -> None:
    parts, _ = make_parts([("Q4_0", 48)], 64)
    assert kernel_ops.linear(np.empty((0, 64), np.float32), _kernels.LinearWeight(parts, 64, pool), None, pool).shape == (0, 48)


def test_parts_of_mixed_formats(isa: str, pool: Any) -> None:
    """A fused q, k, v: neighbours of one format, other formats between, none of them whole panels."""
    parts, matrix = make_parts([("Q4_K", 50), ("Q4_K", 21), ("Q6_K", 21), ("F32", 3), ("Q5_0", 70)], 512)
    weight = _kernels.LinearWeight(parts, 512, pool)
    rng = np.random.default_rng(5)
    bias = rng.standard_normal(len(matrix), np.float32)
    for num_tokens in (1, 2, 5, 33):
        x = rng.standard_normal((num_tokens, 512), np.float32)
        assert_close(kernel_ops.linear(x, weight, bias, pool), x, matrix, bias)


def test_bias_is_added_last(isa: str) -> None:
    pool = _kernels.ThreadPool(2)
    parts, _matrix = make_parts([("BF16", 70)], 96)
    weight = _kernels.LinearWeight(parts, 96, pool)
    bias = np.random.default_rng(6).standard_normal(70, np.float32)
    for num_tokens in (1, 4, 20):
        x = np.random.default_rng(7).standard_normal((num_tokens, 96), np.float32)
        expected = kernel_ops.linear(x, weight, None, pool) + bias
        np.testing.assert_array_equal(kernel_ops.linear(x, weight, bias, pool), expected)


def test_weights_are_exactly_the_dequantized_ones(isa: str) -> None:
    """Rows of the identity pick single weights out: y is the matrix itself, extreme scales included."""
    pool = _kernels.ThreadPool(2)
    x = np.eye(256, dtype=np.float32)
    for format in FORMATS:
        data = random_blocks(format, 40 * 256, np.random.default_rng(8), extreme=True)
        weight = _kernels.LinearWeight([(data, format, 40)], 256, pool)
        matrix = _kernels.dequantize(data, format, 40 * 256).reshape(40, 256)
        np.testing.assert_array_equal(kernel_ops.linear(x, weight, None, pool), matrix.T)
        np.testing.assert_array_equal(kernel_ops.linear(x[:1], weight, None, pool), matrix.T[:1])


def test_weight_keeps_its_instruction_set() -> None:
    pool = _kernels.ThreadPool(1)
    parts, _matrix = make_parts([("Q8_0", 40)], 64)
    before = _kernels.active_isa()
    weight = _kernels.LinearWeight(parts, 64, pool)
    x = np.random.default_rng(9).standard_normal((6, 64), np.float32)
    expected = kernel_ops.linear(x, weight, None, pool)
    _kernels.set_isa("portable")
    try:
        np.testing.assert_array_equal(kernel_ops.linear(x, weight, None, pool), expected)
    finally:
        _kernels.set_isa(before)


def test_packed_size_is_near_the_raw_size() -> None:
    pool = _kernels.ThreadPool(1)
    for format, most in (("F32", 1.0), ("F16", 1.0), ("BF16", 1.0), ("Q8_0", 1.0), ("Q4_0", 1.0), ("Q4_1", 1.0), ("Q6_K", 1.55)):
        parts, _ = make_parts([(format, 64)], 256)
        assert _kernels.LinearWeight(parts, 256, pool).num_bytes <= most * len(parts[0][0])


def test_linear_bad_arguments() -> None:
    pool = _kernels.ThreadPool(1)
    parts, _ = make_parts([("Q4_0", 8)], 64)
    weight = _kernels.LinearWeight(parts, 64, pool)
    with pytest.raises(ValueError, match=r"x is \[tokens, 32\], expected \[R, K\] with K = 64"):
        kernel_ops.linear(np.zeros((1, 32), np.float32), weight, None, pool)
    with pytest.raises(ValueError, match=r"bias is \[9\], expected \[N\] with K = 64, N = 8"):
        kernel_ops.linear(np.zeros((1, 64), np.float32), weight, np.zeros(9, np.float32), pool)
    with pytest.raises(ValueError, match="linear: must be C-contiguous"):
        kernel_ops.linear(np.zeros((64, 2), np.float32).T, weight, None, pool)
    with pytest.raises(ValueError, match="there is no part"):
        _kernels.LinearWeight([], 64, pool)
    with pytest.raises(ValueError, match="48 columns are not whole blocks of 32"):
        _kernels.LinearWeight([(parts[0][0][: 2 * 3 * 18], "Q4_0", 4)], 48, pool)
    with pytest.raises(ValueError, match="bytes, expected"):
        _kernels.LinearWeight([(parts[0][0][:-1], "Q4_0", 8)], 64, pool)


@pytest.mark.parametrize("format", FORMATS)
def test_embedding(format: str, pool: Any) -> None:
    data = random_blocks(format, 50 * 256, np.random.default_rng(10))
    weight = _kernels.EmbeddingWeight(data, format, 50, 256)
    table = expected_values(data, format).reshape(50, 256)
    del data
    token_ids = np.array([49, 0, 7, 7, 31], np.int32)
    np.testing.assert_array_equal(kernel_ops.embedding(token_ids, weight, 1.0, pool), table[token_ids])
    np.testing.assert_array_equal(kernel_ops.embedding(token_ids, weight, 2.5, pool), table[token_ids] * np.float32(2.5))


def test_embedding_bad_arguments() -> None:
    pool = _kernels.ThreadPool(1)
    weight = _kernels.EmbeddingWeight(np.zeros(4 * 8, np.uint8), "F32", 2, 4)
    for token_id in (-1, 2):
        with pytest.raises(ValueError, match=f"token id {token_id} is not in the table of 2 rows"):
            kernel_ops.embedding(np.array([0, token_id], np.int32), weight, 1.0, pool)
    with pytest.raises(ValueError, match="whole blocks of 32"):
        _kernels.EmbeddingWeight(np.zeros(36, np.uint8), "Q4_0", 4, 16)
