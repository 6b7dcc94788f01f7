"""The list of op cases: inputs in float32, the formula in float64, and how far a float32 result may be from it.

`test_ops.py` holds the kernels of every instruction set to it and the oracle, `octavo/ops/reference.py`, too. What needs a cache or
a packed format has a file of its own here, named in `ELSEWHERE`; every op is in one of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "CASES", "ELSEWHERE", "GATES", "WIDTHS", "Case", "Placed", "normal"]

Floats = NDArray[np.float32]
Formula = Callable[[NDArray[Any]], NDArray[Any]]
WIDTHS = [1, 3, 8, 40, 64, 576, 1001]

# Op -> the file that tests it: caches, packed formats, choices among equal scores, selections that a step makes.
ELSEWHERE = {
    "attention": "test_encoder_ops.py",
    "causal_conv": "test_state.py",
    "cross_attention": "test_cross_attention.py",
    "delta_rule": "test_state.py",
    "experts": "test_moe.py",
    "gated_rms_norm": "test_state.py",
    "head_linear": "test_mla.py",
    "lm_head": "test_lm_head.py",
    "mla_attention": "test_mla.py",
    "paged_attention": "test_attention.py",
    "pool": "test_encoder_ops.py",
    "route": "test_moe.py",
    "ssm_scan": "test_state.py",
    "store_kv": "test_attention.py",
    "store_latent": "test_mla.py",
}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Floats:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def _sigmoid(z: NDArray[Any]) -> NDArray[Any]:
    return 1.0 / (1.0 + np.exp(-z))


def _gelu(z: NDArray[Any]) -> NDArray[Any]:
    return z * np.vectorize(math.erfc)(-z / math.sqrt(2)) / 2


def _gelu_tanh(z: NDArray[Any]) -> NDArray[Any]:
    return z * _sigmoid(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))


ACTIVATIONS: dict[str, Formula] = {
    "silu": lambda z: z * _sigmoid(z),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": lambda z: z * _sigmoid(1.702 * z),
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu_squared": lambda z: np.maximum(z, 0) ** 2,
}
GATES: dict[str, Formula] = {
    "silu_and_mul": lambda z: z * _sigmoid(z),
    "gelu_and_mul": _gelu,
    "gelu_tanh_and_mul": _gelu_tanh,
}


class Placed(NamedTuple):
    """A weight, and what it is placed as."""

    kind: Literal["array", "linear", "embedding"]
    values: Floats


@dataclass(frozen=True)
class Case:
    """One op.

    Attributes:
        id: the case's name.
        reads: the operands, [T, columns] of float32 or int32.
        expected: the results, in float64 or, where the bits are told, in float32.
        weights: as the op takes them; None for one that it does without.
        step: arrays of the step that the op reads, by name.
        rtol, atol: of a float32 kernel.
    """

    id: str
    op: str
    reads: tuple[NDArray[Any], ...]
    expected: tuple[NDArray[Any], ...]
    rtol: float
    atol: float = 0.0
    weights: tuple[Placed | None, ...] = ()
    step: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


def _of_width(width: int) -> Iterator[Case]:
    yield from _rms_norms(width)
    yield from (_layer_norm(width, biased) for biased in (True, False))
    for name, formula in ACTIVATIONS.items():
        x = normal(6, width, scale=2.0)
        yield Case(f"{name}-{width}", name, (x,), (formula(x.astype(np.float64)),), 2e-6, 1e-12)
    for name, formula in GATES.items():
        x = normal(6, 2 * width, scale=2.0)
        wide = x.astype(np.float64)
        yield Case(f"{name}-{width}", name, (x,), (formula(wide[:, :width]) * wide[:, width:],), 2e-6, 1e-12)
    x, y = normal(3, width), normal(3, width, seed=1)
    yield Case(f"add-{width}", "add", (x, y), (x + y,), 0.0)
    yield Case(f"mul-{width}", "mul", (x, y), (x * y,), 0.0)
    yield Case(f"scale-{width}", "scale", (x,), (x * np.float32(0.3),), 0.0, attributes={"factor": 0.3})
    gate = y[:, :1].copy()
    yield Case(f"sigmoid_gate-{width}", "sigmoid_gate", (x, gate), (x * _sigmoid(gate.astype(np.float64)),), 2e-6, 1e-12)
    yield _softcap(width)
    yield from (_linear(width, num_rows, biased) for num_rows in (1, 40) for biased in (True, False))
    yield from _lookups(width)


def _rms_norms(width: int) -> Iterator[Case]:
    x, residual, weight = normal(5, width), normal(5, width, seed=2), normal(width, seed=1)

    def normed(z: NDArray[Any]) -> NDArray[Any]:
        return z / np.sqrt((z**2).mean(-1, keepdims=True) + 1e-5) * weight

    more = {"weights": (Placed("array", weight),), "attributes": {"eps": 1e-5}}
    yield Case(f"rms_norm-{width}", "rms_norm", (x,), (normed(x.astype(np.float64)),), 1e-6, 1e-7, **more)
    total = x + residual
    yield Case(f"add_rms_norm-{width}", "add_rms_norm", (x, residual), (normed(total.astype(np.float64)), total), 1e-6, 1e-7, **more)


def _layer_norm(width: int, biased: bool) -> Case:
    x, weight, bias = normal(5, width) + 3, normal(width, seed=1), normal(width, seed=2) if biased else None
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + (0 if bias is None else bias)
    name = f"layer_norm-{width}{'-biased' if biased else ''}"
    weights = (Placed("array", weight), None if bias is None else Placed("array", bias))
    return Case(name, "layer_norm", (x,), (expected,), 1e-5, 3e-6, weights, attributes={"eps": 1e-5})


def _softcap(width: int) -> Case:
    x = normal(3, width, scale=40.0)
    x[:, 0] = 1e-6
    return Case(f"softcap-{width}", "softcap", (x,), (30.0 * np.tanh(x.astype(np.float64) / 30.0),), 1e-6, attributes={"cap": 30.0})


def _linear(width: int, num_rows: int, biased: bool) -> Case:
    """The bound is that of a float32 sum of `width` products, two roundings each."""
    x, matrix, bias = normal(7, width), normal(num_rows, width, seed=1), normal(num_rows, seed=2) if biased else None
    exact = x.astype(np.float64) @ matrix.T.astype(np.float64) + (0 if bias is None else bias)
    largest = (np.abs(x) @ np.abs(matrix).T).max() + np.abs(exact).max()
    name = f"linear-{width}-{num_rows}{'-biased' if biased else ''}"
    weights = (Placed("linear", matrix), None if bias is None else Placed("array", bias))
    return Case(name, "linear", (x,), (exact,), 0.0, float(2.0**-23 * (width + 2) * largest), weights)


def _lookups(width: int) -> Iterator[Case]:
    """Ops that copy rows of a table or of a value: every bit is told."""
    table, ids = normal(11, width, seed=3), np.array([10, 0, 3, 3, 7], np.int32)
    scaled = table[ids] * np.float32(1.5)
    weights = (Placed("embedding", table),)
    yield Case(f"embedding-{width}", "embedding", (), (scaled,), 0.0, 0.0, weights, {"token_ids": ids}, {"scale": 1.5})
    yield Case(f"lookup-{width}", "lookup", (ids[:, None],), (table[ids],), 0.0, 0.0, weights)
    taps, shares = np.array([[0, 8], [3, 3], [7, 1]], np.int32), normal(3, 2, seed=4)
    mixed = (shares[:, :, None].astype(np.float64) * table[taps]).sum(1)
    yield Case(f"weighted_lookup-{width}", "weighted_lookup", (taps, shares), (mixed,), 1e-5, 1e-6, weights)
    positions = np.array([0, 8, 2, 2, 1], np.int32)
    moved = table[positions + 2]
    step = {"token_ids": ids, "positions": positions}
    yield Case(f"position_embedding-{width}", "position_embedding", (), (moved,), 0.0, 0.0, weights, step, {"offset": 2})


def _rotary(head_dim: int, rotary_dim: int) -> Case:
    x, half = normal(9, 3 * head_dim), rotary_dim // 2
    angles = np.arange(50)[:, None] * 10000.0 ** (-np.arange(half) / half)
    cos_sin = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    positions = np.array([0, 1, 49, 7, 7, 3, 2, 31, 12], np.int32)
    heads = x.astype(np.float64).reshape(9, 3, head_dim)
    cos, sin = (part[positions][:, None].astype(np.float64) for part in np.split(cos_sin, 2, axis=1))
    x1, x2, rest = np.split(heads, [half, rotary_dim], axis=2)
    expected = np.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin, rest], axis=2).reshape(9, -1)
    weights, step = (Placed("array", cos_sin),), {"positions": positions}
    name, weights, step = f"rotary_embedding-{head_dim}-{rotary_dim}", (Placed("array", cos_sin),), {"positions": positions}
    return Case(name, "rotary_embedding", (x,), (expected,), 1e-5, 1e-6, weights, step, {"head_dim": head_dim})


def _rotate() -> Iterator[Case]:
    axes, half = np.array([0, 0, 1, 2, 2, 1, 0], np.float32), 7
    positions = np.random.default_rng(2).integers(0, 20, (9, 3)).astype(np.int32)
    cos_sin = normal(20, 2 * half)
    rotation = np.concatenate(
        [cos_sin[positions[:, axes.astype(int)], part * half + np.arange(half)] for part in (0, 1)], axis=1, dtype=np.float32
    )
    rotation = np.ascontiguousarray(rotation)
    weights = (Placed("array", cos_sin), Placed("array", axes))
    yield Case("axis_rotation", "axis_rotation", (positions,), (rotation,), 0.0, 0.0, weights)
    x = normal(9, 2 * 16)
    x1, x2, rest = np.split(x.astype(np.float64).reshape(9, 2, 16), [half, 2 * half], axis=2)
    cos, sin = (part[:, None].astype(np.float64) for part in np.split(rotation, 2, axis=1))
    expected = np.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin, rest], axis=2).reshape(9, -1)
    yield Case("rotate", "rotate", (x, rotation), (expected,), 1e-5, 1e-6, attributes={"head_dim": 16})


def _gather(num_side_by_side: int) -> Case:
    x = normal(6, 5)
    ids = np.random.default_rng(1).integers(0, 6, (6, num_side_by_side)).astype(np.int32)
    return Case(f"gather_rows-{num_side_by_side}", "gather_rows", (x, ids), (x[ids].reshape(6, -1),), 0.0)


def _selections() -> Iterator[Case]:
    x, other = normal(6, 5), normal(6, 5, seed=1)
    chosen, rows = np.array([[0], [1], [0], [7], [0], [1]], np.int32), np.array([5, 0, 2], np.int32)
    yield Case("choose_rows", "choose_rows", (x, other, chosen), (np.where(chosen != 0, other, x),), 0.0)
    yield Case("select_logits_rows", "select_logits_rows", (x,), (x[rows],), 0.0, step={"logits_indices": rows})


CASES = [
    *(case for width in WIDTHS for case in _of_width(width)),
    *(_rotary(*dims) for dims in ((64, 64), (80, 20), (96, 96), (8, 6), (256, 256))),
    *_rotate(),
    *(_gather(count) for count in (1, 4)),
    *_selections(),
]
