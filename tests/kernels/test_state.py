"""Ops with a state per sequence against the reference in torch, on every instruction set; cut anywhere they give the same bits."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from octavo._kernels import ArrayWeight, run_op
from octavo.ops.reference import ReferenceOps

pytestmark = pytest.mark.usefixtures("isa")

LENGTHS = [70, 1, 20]  # tokens of each sequence
ROWS = [2, 0, 3]  # of the states
HEADS, GROUPS = 4, 2


def normal(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv(size: int) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, Any], int, Callable[..., Any]]:
    """Operands of all tokens, weights, attributes, elements of the state, and the reference's call."""
    reads, weights = [normal(sum(LENGTHS), size, seed=0)], [normal(4, size, seed=1), normal(size, seed=2)]
    return reads, weights, {}, 3 * size, lambda ops, step, x, w, bias: ops.causal_conv(step, x, w, bias, 0)


def scan(size: int) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, Any], int, Callable[..., Any]]:
    tokens, rows = sum(LENGTHS), 11
    reads = [normal(tokens, cols, seed=cols) for cols in (HEADS * size, GROUPS * rows, GROUPS * rows, HEADS)]
    weights = [-np.abs(normal(HEADS, seed=1)), normal(HEADS, seed=2), normal(HEADS, seed=3)]
    settings = {"num_heads": HEADS, "num_groups": GROUPS, "dt_min": 0.1, "dt_max": 1.5}
    elements = HEADS * rows * -(-size // 16) * 16
    return reads, weights, settings, elements, lambda ops, step, *args: ops.ssm_scan(step, *args[:4], args[4:], 0, **settings)


def delta(size: int) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, Any], int, Callable[..., Any]]:
    tokens, rows = sum(LENGTHS), 12
    reads = [normal(tokens, cols, seed=seed) for seed, cols in enumerate((GROUPS * rows, GROUPS * rows, HEADS * size, HEADS, HEADS))]
    reads[1] /= rows**0.5  # keys of length 1, or the state grows without bound
    weights = [-np.abs(normal(HEADS, seed=1)), normal(HEADS, seed=2)]
    settings = {"num_heads": HEADS, "num_key_heads": GROUPS}
    elements = HEADS * rows * -(-size // 16) * 16
    return (
        reads,
        weights,
        settings,
        elements,
        lambda ops, step, q, k, v, b, dt, *of: ops.delta_rule(step, (q, k, v), b, dt, of, 0, **settings),
    )


CASES = {"causal_conv": conv, "ssm_scan": scan, "delta_rule": delta}


def run(name: str, case: tuple, pool, done: list[int], counts: list[int], states: np.ndarray) -> list[np.ndarray]:
    """The op's results for the next `counts` tokens of each sequence."""
    reads, weights, settings, _, _ = case
    begins = np.cumsum([0, *LENGTHS])
    chosen = np.concatenate([np.arange(begins[i] + done[i], begins[i] + done[i] + counts[i]) for i in range(len(LENGTHS))])
    step = {
        "query_indptr": np.cumsum([0, *counts]).astype(np.int32),
        "context_lens": np.array(done, np.int32) + np.array(counts, np.int32),
        "rows": np.array(ROWS, np.int32),
        "states": states,
    }
    parts = [np.ascontiguousarray(part[chosen]) for part in reads]
    (y,) = run_op(name, parts, [ArrayWeight(weight) for weight in weights], pool, step=step, state=0, **settings)
    return np.split(y, np.cumsum(counts)[:-1])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [16, 24, 5])
def test_equals_reference_however_it_is_cut(name, size, pool):
    case = CASES[name](size)
    reads, weights, _, elements, call = case
    states = np.full((5, elements), np.nan, np.float32)  # what was there before a sequence's first token does not matter
    whole = run(name, case, pool, [0, 0, 0], LENGTHS, states)
    begins = torch.tensor([0, *LENGTHS]).cumsum(0).tolist()
    step = SimpleNamespace(query_indptr=begins, context_lens=LENGTHS, rows=ROWS, states=[torch.zeros(5, elements)])
    expected = call(ReferenceOps(), step, *map(torch.from_numpy, [*reads, *weights])).numpy()
    np.testing.assert_allclose(np.concatenate(whole), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    left = np.nan_to_num(states[ROWS])  # columns that pad a head are nobody's
    np.testing.assert_allclose(left, step.states[0].numpy()[ROWS], rtol=1e-4, atol=1e-5 * np.abs(expected).max())

    cut, pieces, done = np.full((5, elements), np.nan, np.float32), [[], [], []], [0, 0, 0]
    while done != LENGTHS:
        counts = [min(chunk, length - before) for chunk, length, before in zip((7, 1, 2), LENGTHS, done, strict=True)]
        for sequence, y in enumerate(run(name, case, pool, done, counts, cut)):
            pieces[sequence].append(y)
            done[sequence] += counts[sequence]
    for sequence, of_whole in enumerate(whole):
        assert np.concatenate(pieces[sequence]).tobytes() == of_whole.tobytes()
    assert cut[ROWS].tobytes() == states[ROWS].tobytes()
    assert np.isnan(cut[[1, 4]]).all()  # rows of others


@pytest.mark.parametrize(("cols", "group"), [(64, 64), (64, 16), (45, 15), (7, 7)])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_gated_rms_norm(cols, group, norm_first, whole, pool):
    x, gate, weight = normal(9, cols, seed=0), normal(9, cols, seed=1), normal(cols if whole else group, seed=2)
    settings = {"group_size": group, "eps": 1e-5, "norm_first": norm_first}
    (y,) = run_op("gated_rms_norm", [x, gate], [ArrayWeight(weight)], pool, **settings)
    expected = ReferenceOps().gated_rms_norm(*map(torch.from_numpy, (x, gate, weight)), **settings).numpy()
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=1e-6)


def test_what_does_not_fit_is_refused(pool):
    case = scan(16)
    with pytest.raises(ValueError, match="the state has 7 elements, expected 704"):
        run("ssm_scan", case, pool, [0, 0, 0], LENGTHS, np.zeros((5, 7), np.float32))
    with pytest.raises(ValueError, match="row 2 of 2"):
        run("ssm_scan", case, pool, [0, 0, 0], LENGTHS, np.zeros((2, case[3]), np.float32))
