"""Norms, activations and rotary embedding against float64 numpy, on every instruction set."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fakes import kernel_ops
from octavo import _kernels

WIDTHS = [1, 3, 8, 40, 64, 576, 1001]


pytestmark = pytest.mark.usefixtures("isa")


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-z))


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm(width, pool):
    x, weight = normal(5, width), normal(width, seed=1)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(kernel_ops.rms_norm(x, weight, 1e-5, pool), expected, rtol=1e-6, atol=1e-7)


def test_rms_norm_of_each_head(pool):
    x, weight = normal(7, 4 * 64), normal(64, seed=1)
    by_head = kernel_ops.rms_norm(x.reshape(-1, 64), weight, 1e-6, pool).reshape(7, -1)
    assert kernel_ops.rms_norm(x, weight, 1e-6, pool).tobytes() == by_head.tobytes()


def test_rms_norm_refuses_partial_groups(pool):
    with pytest.raises(ValueError, match=r"x is \[tokens, 8\], expected \[R, G\*S\] with S = 5"):
        kernel_ops.rms_norm(normal(1, 8), normal(5), 1e-6, pool)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_layer_norm(width, biased, pool):
    x, weight, bias = normal(5, width) + 3, normal(width, seed=1), normal(width, seed=2)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + (bias if biased else 0)
    np.testing.assert_allclose(kernel_ops.layer_norm(x, weight, bias if biased else None, 1e-5, pool), expected, rtol=1e-5, atol=3e-6)


def test_layer_norm_of_each_head(pool):
    x, weight, bias = normal(7, 4 * 64), normal(64, seed=1), normal(64, seed=2)
    by_head = kernel_ops.layer_norm(x.reshape(-1, 64), weight, bias, 1e-6, pool).reshape(7, -1)
    assert kernel_ops.layer_norm(x, weight, bias, 1e-6, pool).tobytes() == by_head.tobytes()


ACTIVATIONS = {
    "silu": lambda z: z * sigmoid(z),
    "gelu": lambda z: z * np.vectorize(math.erfc)(-z / math.sqrt(2)) / 2,
    "gelu_tanh": lambda z: z * sigmoid(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)),
    "relu": lambda z: np.maximum(z, 0),
    "relu_squared": lambda z: np.maximum(z, 0) ** 2,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("width", WIDTHS)
def test_activations(name, width, pool):
    x = normal(6, width, scale=2.0)
    np.testing.assert_allclose(kernel_ops.activation(name, x, pool), ACTIVATIONS[name](x.astype(np.float64)), rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_nan(name, pool):
    assert np.isnan(kernel_ops.activation(name, np.array([[np.nan, 1.0]], np.float32), pool)[0, 0])


@pytest.mark.parametrize("width", WIDTHS)
def test_scale(width, pool):
    x = normal(3, width)
    assert np.array_equal(kernel_ops.scale(x, 0.3, pool), x * np.float32(0.3))


GATES = {
    "silu_and_mul": lambda z: z * sigmoid(z),
    "gelu_and_mul": lambda z: z * np.vectorize(math.erfc)(-z / math.sqrt(2)) / 2,
    "gelu_tanh_and_mul": lambda z: z * sigmoid(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)),
}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("width", WIDTHS)
def test_gates(name, width, pool):
    x = normal(6, 2 * width, scale=2.0)
    wide = x.astype(np.float64)
    expected = GATES[name](wide[:, :width]) * wide[:, width:]
    np.testing.assert_allclose(getattr(kernel_ops, name)(x, pool), expected, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("name", GATES)
def test_gates_far_from_zero(name, pool):
    x = np.array([[-1e30, -200.0, -0.0, 0.0, 200.0, 1e12, np.nan, *[1.0] * 7]], np.float32)
    y = getattr(kernel_ops, name)(x, pool)[0]
    np.testing.assert_allclose(y[:6], [0.0, 0.0, 0.0, 0.0, 200.0, 1e12], atol=1e-5)
    assert np.isnan(y[6])


@pytest.mark.parametrize("width", WIDTHS)
def test_softcap(width, pool):
    x = normal(3, width, scale=40.0)
    x[:, 0] = 1e-6
    np.testing.assert_allclose(kernel_ops.softcap(x, 30.0, pool), 30.0 * np.tanh(x.astype(np.float64) / 30.0), rtol=1e-6)


def test_softcap_of_extremes(pool):
    y = kernel_ops.softcap(np.array([[np.inf, -np.inf, 1e30, -0.0, np.nan]], np.float32), 30.0, pool)[0]
    assert y[:4].tolist() == [30.0, -30.0, 30.0, 0.0] and np.isnan(y[4])


@pytest.mark.parametrize(("head_dim", "rotary_dim"), [(64, 64), (80, 20), (96, 96), (8, 6), (256, 256)])
def test_rotary_embedding(head_dim, rotary_dim, pool):
    x, half = normal(9, 3 * head_dim), rotary_dim // 2
    angles = np.arange(50)[:, None] * 10000.0 ** (-np.arange(half) / half)
    cos_sin = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    positions = np.array([0, 1, 49, 7, 7, 3, 2, 31, 12], np.int32)
    heads = x.astype(np.float64).reshape(9, 3, head_dim)
    cos, sin = (part[positions][:, None].astype(np.float64) for part in np.split(cos_sin, 2, axis=1))
    x1, x2, rest = np.split(heads, [half, rotary_dim], axis=2)
    expected = np.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin, rest], axis=2).reshape(9, -1)
    y = kernel_ops.rotary_embedding(x, positions, cos_sin, head_dim, pool)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("position", [-1, 4])
def test_rotary_embedding_refuses_positions_outside_the_table(position, pool):
    with pytest.raises(ValueError, match=rf"positions\[0\] is {position}"):
        kernel_ops.rotary_embedding(normal(1, 8), np.array([position], np.int32), normal(4, 8), 8, pool)


@pytest.mark.parametrize("num_rows", [1, 2, 33])
def test_bits_do_not_depend_on_the_batch(num_rows):
    """Row 0 alone and among others, with one thread and with three."""
    x, weight = normal(num_rows, 2 * 4999, seed=7), normal(4999, seed=8)
    alone, crowd = _kernels.ThreadPool(1), _kernels.ThreadPool(3)
    for op in (
        lambda x, pool: kernel_ops.rms_norm(x, weight, 1e-6, pool),
        kernel_ops.silu_and_mul,
        kernel_ops.gelu_and_mul,
        kernel_ops.gelu_tanh_and_mul,
        lambda x, pool: kernel_ops.softcap(x, 5.0, pool),
    ):
        assert op(x, crowd)[0].tobytes() == op(x[:1], alone)[0].tobytes()


def test_wrong_arrays_are_named(pool):
    with pytest.raises(ValueError, match="silu_and_mul: expected dtype float32"):
        kernel_ops.silu_and_mul(np.zeros((2, 2)), pool)
    with pytest.raises(ValueError, match="softcap: must be C-contiguous"):
        kernel_ops.softcap(normal(4, 4)[:, ::2], 1.0, pool)
