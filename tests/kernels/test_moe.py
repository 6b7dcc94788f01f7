"""Mixture of experts and the sigmoid gate against the reference in torch, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fakes import kernel_ops
from octavo import _kernels
from octavo.ops.reference import ReferenceOps

HIDDEN, SIZE = 48, 20


pytestmark = pytest.mark.usefixtures("isa")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def matrices(num_experts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(normal(2 * SIZE, HIDDEN, seed=2 * index), normal(HIDDEN, SIZE, seed=2 * index + 1)) for index in range(num_experts)]


def packed(experts: list[tuple[np.ndarray, np.ndarray]], pool) -> _kernels.ExpertsWeight:
    def pack(matrix: np.ndarray):
        return _kernels.LinearWeight([(matrix.reshape(-1).view(np.uint8), "F32", len(matrix))], matrix.shape[1], pool)

    return _kernels.ExpertsWeight([(pack(gate_up), pack(down)) for gate_up, down in experts])


def moe(x, logits, experts: _kernels.ExpertsWeight, top_k: int, renormalise: bool, activation: str, pool) -> np.ndarray:
    ids, weights = kernel_ops.route(logits, top_k, renormalise, pool)
    return kernel_ops.experts(x, ids, weights, experts, activation, pool)


def reference_moe(x, logits, experts, top_k: int, renormalise: bool, activation: str) -> np.ndarray:
    ops, in_torch = ReferenceOps(), [(torch.from_numpy(gate_up), torch.from_numpy(down)) for gate_up, down in experts]
    ids, weights = ops.route(torch.from_numpy(logits), top_k=top_k, renormalise=renormalise)
    return ops.experts(torch.from_numpy(x), ids, weights, in_torch, activation=activation).numpy()


@pytest.mark.parametrize("num_tokens", [1, 3, 70])
@pytest.mark.parametrize(("num_experts", "top_k"), [(1, 1), (8, 2), (60, 4), (5, 5)])
@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_pytorch_tanh"])
def test_moe_equals_reference(num_tokens, num_experts, top_k, renormalise, activation, pool):
    x, logits, experts = normal(num_tokens, HIDDEN), normal(num_tokens, num_experts, seed=99), matrices(num_experts)
    expected = reference_moe(x, logits, experts, top_k, renormalise, activation)
    y = moe(x, logits, packed(experts, pool), top_k, renormalise, activation, pool)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_equal_logits_go_to_the_lower_id_in_both(pool):
    x, experts = normal(2, HIDDEN), matrices(4)
    logits = np.array([[1, 2, 2, 2], [0, 0, 0, 0]], np.float32)
    expected = reference_moe(x, logits, experts, 2, True, "silu")
    y = moe(x, logits, packed(experts, pool), 2, True, "silu", pool)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("num_tokens", [2, 33])
def test_bits_do_not_depend_on_the_batch(num_tokens):
    alone, crowd = _kernels.ThreadPool(1), _kernels.ThreadPool(3)
    x, logits = normal(num_tokens, HIDDEN), normal(num_tokens, 8, seed=1)
    experts = packed(matrices(8), alone)
    together = moe(x, logits, experts, 3, True, "silu", crowd)
    for row in (0, num_tokens - 1):
        one = slice(row, row + 1)
        assert moe(x[one], logits[one], experts, 3, True, "silu", alone).tobytes() == together[one].tobytes()


@pytest.mark.parametrize("width", [1, 17, 1000])
def test_sigmoid_gate(width, pool):
    x, gate = normal(5, width), np.array([[-40.0], [-1.0], [0.0], [3.0], [100.0]], np.float32)
    expected = x.astype(np.float64) / (1 + np.exp(-gate.astype(np.float64)))
    np.testing.assert_allclose(kernel_ops.sigmoid_gate(x, gate, pool), expected, rtol=2e-6)
    np.testing.assert_allclose(ReferenceOps().sigmoid_gate(torch.from_numpy(x), torch.from_numpy(gate)).numpy(), expected, rtol=2e-6)


def test_what_does_not_fit_is_refused_when_recorded_and_when_called(pool):
    experts = packed(matrices(4), pool)
    x, logits = normal(2, HIDDEN), normal(2, 4)
    with pytest.raises(ValueError, match="top_k is 5; it must be from 1 to the 4 experts"):
        moe(x, logits, experts, 5, True, "silu", pool)
    with pytest.raises(ValueError, match="activation relu is unknown"):
        moe(x, logits, experts, 2, True, "relu", pool)
    ids, weights = kernel_ops.route(logits, 2, True, pool)
    with pytest.raises(ValueError, match=r"experts: x is \[tokens, 24\], expected \[R, E\] with E = 48, F = 20, X = 4"):
        kernel_ops.experts(x[:, :24].copy(), ids, weights, experts, "silu", pool)
    with pytest.raises(ValueError, match=r"experts: id \d of 4"):
        kernel_ops.experts(x, ids + 4, weights, experts, "silu", pool)
