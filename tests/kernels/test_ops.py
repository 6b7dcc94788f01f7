"""The list of op cases on every instruction set, and what is particular of norms, activations and rotary embedding."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import kernel_ops
from kernels.cases import ACTIVATIONS, CASES, GATES, Placed, normal
from octavo import _kernels
from octavo._kernels import ArrayWeight, EmbeddingWeight, LinearWeight, Weight, run_op

pytestmark = pytest.mark.usefixtures("isa")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_kernel_follows_the_formula(case, pool):
    weights = [None if weight is None else _placed(weight, pool) for weight in case.weights]
    results = run_op(case.op, case.reads, weights, pool, step=case.step, **case.attributes)
    for result, expected in zip(results, case.expected, strict=True):
        np.testing.assert_allclose(result, expected, rtol=case.rtol, atol=case.atol)


def _placed(weight: Placed, pool) -> Weight:
    values = weight.values
    if weight.kind == "array":
        return ArrayWeight(values)
    raw, (num_rows, num_cols) = values.reshape(-1).view(np.uint8), values.shape
    if weight.kind == "embedding":
        return EmbeddingWeight(raw, "F32", num_rows, num_cols)
    return LinearWeight([(raw, "F32", num_rows)], num_cols, pool)


def test_rms_norm_of_each_head(pool):
    x, weight = normal(7, 4 * 64), normal(64, seed=1)
    by_head = kernel_ops.rms_norm(x.reshape(-1, 64), weight, 1e-6, pool).reshape(7, -1)
    assert kernel_ops.rms_norm(x, weight, 1e-6, pool).tobytes() == by_head.tobytes()


def test_rms_norm_refuses_partial_groups(pool):
    with pytest.raises(ValueError, match=r"x is \[tokens, 8\], expected \[R, G\*S\] with S = 5"):
        kernel_ops.rms_norm(normal(1, 8), normal(5), 1e-6, pool)


def test_layer_norm_of_each_head(pool):
    x, weight, bias = normal(7, 4 * 64), normal(64, seed=1), normal(64, seed=2)
    by_head = kernel_ops.layer_norm(x.reshape(-1, 64), weight, bias, 1e-6, pool).reshape(7, -1)
    assert kernel_ops.layer_norm(x, weight, bias, 1e-6, pool).tobytes() == by_head.tobytes()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_nan(name, pool):
    assert np.isnan(kernel_ops.activation(name, np.array([[np.nan, 1.0]], np.float32), pool)[0, 0])


@pytest.mark.parametrize("name", GATES)
def test_gates_far_from_zero(name, pool):
    x = np.array([[-1e30, -200.0, -0.0, 0.0, 200.0, 1e12, np.nan, *[1.0] * 7]], np.float32)
    y = getattr(kernel_ops, name)(x, pool)[0]
    np.testing.assert_allclose(y[:6], [0.0, 0.0, 0.0, 0.0, 200.0, 1e12], atol=1e-5)
    assert np.isnan(y[6])


def test_softcap_of_extremes(pool):
    y = kernel_ops.softcap(np.array([[np.inf, -np.inf, 1e30, -0.0, np.nan]], np.float32), 30.0, pool)[0]
    assert y[:4].tolist() == [30.0, -30.0, 30.0, 0.0] and np.isnan(y[4])


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
