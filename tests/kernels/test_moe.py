"""Mixture of experts and the sigmoid gate against the reference in torch, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fakes import kernel_ops
from octavo import _kernels
from octavo.checkpoint.model_config import Routing
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
    ids, weights = kernel_ops.route(logits, top_k, Routing(renormalise), pool)
    return kernel_ops.experts(x, ids, weights, experts, activation, pool)


def reference_moe(x, logits, experts, top_k: int, renormalise: bool, activation: str) -> np.ndarray:
    ops, in_torch = ReferenceOps(), [(torch.from_numpy(gate_up), torch.from_numpy(down)) for gate_up, down in experts]
    ids, weights = ops.route(torch.from_numpy(logits), None, top_k=top_k, routing=Routing(renormalise))
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


ROUTINGS = {
    "sigmoid": Routing(False, scoring="sigmoid"),
    "sigmoid-renormalised": Routing(True, scoring="sigmoid", scale=2.5, least_sum=1e-20),
    "groups-of-two-best": Routing(True, scoring="sigmoid", num_groups=4, top_groups=2, group_best=2, scale=1.5),
    "groups-of-the-best": Routing(False, num_groups=6, top_groups=3, scale=4.0),
    "softmax-groups-of-two-best": Routing(True, num_groups=3, top_groups=2, group_best=2),
    "softmax": Routing(True, least_sum=1e-12),
    "least-sum": Routing(True, scoring="sigmoid", least_sum=4.0),
    "sparsemixer": Routing(False, scoring="sparsemixer", jitter=0.2),
}


@pytest.mark.parametrize("routing", ROUTINGS.values(), ids=ROUTINGS)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_routing_equals_reference(routing, biased, top_k, pool):
    logits, bias = normal(40, 24, seed=5), normal(24, seed=6) if biased else None
    ids, weights = kernel_ops.route(logits, top_k, routing, pool, bias)
    expected = ReferenceOps().route(
        torch.from_numpy(logits), None if bias is None else torch.from_numpy(bias), top_k=top_k, routing=routing
    )
    np.testing.assert_array_equal(ids, expected[0].numpy())
    np.testing.assert_allclose(weights, expected[1].numpy(), rtol=1e-5)


def test_groups_that_cannot_hold_the_choice_are_refused(pool):
    with pytest.raises(ValueError, match="the top 5 of 24 experts cannot come from 1 of 6 groups"):
        kernel_ops.route(normal(2, 24), 5, Routing(True, num_groups=6, top_groups=1), pool)
    with pytest.raises(ValueError, match="scoring tanh is unknown"):
        kernel_ops.route(normal(2, 24), 5, Routing(True, scoring="tanh"), pool)


@pytest.mark.parametrize("num_tokens", [1, 70])
@pytest.mark.parametrize("weighs_input", [False, True])
def test_biases_and_the_clamped_activation(num_tokens, weighs_input, pool):
    x, logits, blocks = normal(num_tokens, HIDDEN) * 5, normal(num_tokens, 6, seed=9), matrices(6)
    biases = (normal(6, 2 * SIZE, seed=7), normal(6, HIDDEN, seed=8))
    settings = {"activation": "clamped_swiglu", "weighs_input": weighs_input, "alpha": 1.702, "limit": 3.0}
    ids, weights = kernel_ops.route(logits, 3, Routing(True), pool)
    y = kernel_ops.experts(x, ids, weights, packed(blocks, pool), pool=pool, biases=biases, **settings)
    in_torch = [(torch.from_numpy(gate_up), torch.from_numpy(down)) for gate_up, down in blocks]
    tensors = [torch.from_numpy(array) for array in (x, ids, weights)]
    expected = ReferenceOps().experts(*tensors, in_torch, biases=tuple(map(torch.from_numpy, biases)), **settings).numpy()
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
    ids, weights = kernel_ops.route(logits, 2, Routing(True), pool)
    with pytest.raises(ValueError, match=r"experts: x is \[tokens, 24\], expected \[R, E\] with E = 48, F = 20, X = 4"):
        kernel_ops.experts(x[:, :24].copy(), ids, weights, experts, "silu", pool)
    with pytest.raises(ValueError, match=r"experts: id \d of 4"):
        kernel_ops.experts(x, ids + 4, weights, experts, "silu", pool)
