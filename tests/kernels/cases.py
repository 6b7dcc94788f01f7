"""Ops that compute each row by itself: inputs in float32, the formula in float64, and how far a float32 kernel may be from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "GATES", "ROW_CASES", "WIDTHS", "Case", "normal"]

Floats = NDArray[np.float32]
Formula = Callable[[NDArray[Any]], NDArray[Any]]
WIDTHS = [1, 3, 8, 40, 64, 576, 1001]


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
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "relu_squared": lambda z: np.maximum(z, 0) ** 2,
}
GATES: dict[str, Formula] = {
    "silu_and_mul": lambda z: z * _sigmoid(z),
    "gelu_and_mul": _gelu,
    "gelu_tanh_and_mul": _gelu_tanh,
}


@dataclass(frozen=True)
class Case:
    """One op on rows x [R, ...] of float32.

    Attributes:
        id: the case's name.
        weights: arrays, as the op takes them; None for one that it does without.
        expected: the result, in float64 or, where the bits are told, in float32.
    """

    id: str
    op: str
    x: Floats
    expected: NDArray[Any]
    rtol: float
    atol: float = 0.0
    weights: tuple[Floats | None, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


def _row_cases() -> Iterator[Case]:
    for width in WIDTHS:
        yield _rms_norm(width)
        yield from (_layer_norm(width, biased) for biased in (True, False))
        for name, formula in ACTIVATIONS.items():
            x = normal(6, width, scale=2.0)
            yield Case(f"{name}-{width}", name, x, formula(x.astype(np.float64)), 2e-6, 1e-12)
        for name, formula in GATES.items():
            x = normal(6, 2 * width, scale=2.0)
            wide = x.astype(np.float64)
            yield Case(f"{name}-{width}", name, x, formula(wide[:, :width]) * wide[:, width:], 2e-6, 1e-12)
        x = normal(3, width)
        yield Case(f"scale-{width}", "scale", x, x * np.float32(0.3), 0.0, attributes={"factor": 0.3})
        yield _softcap(width)


def _rms_norm(width: int) -> Case:
    x, weight = normal(5, width), normal(width, seed=1)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * weight
    return Case(f"rms_norm-{width}", "rms_norm", x, expected, 1e-6, 1e-7, (weight,), {"eps": 1e-5})


def _layer_norm(width: int, biased: bool) -> Case:
    x, weight, bias = normal(5, width) + 3, normal(width, seed=1), normal(width, seed=2) if biased else None
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + (0 if bias is None else bias)
    name = f"layer_norm-{width}{'-biased' if biased else ''}"
    return Case(name, "layer_norm", x, expected, 1e-5, 3e-6, (weight, bias), {"eps": 1e-5})


def _softcap(width: int) -> Case:
    x = normal(3, width, scale=40.0)
    x[:, 0] = 1e-6
    return Case(f"softcap-{width}", "softcap", x, 30.0 * np.tanh(x.astype(np.float64) / 30.0), 1e-6, attributes={"cap": 30.0})


ROW_CASES = list(_row_cases())
