"""How far a result may be from its reference: the largest error over the largest reference value, by op and element type.

References are computed in float64 from the rounded inputs. The C++ tests of a GPU hold the same numbers (cpp/tests/gpu/device_tensor.h).
Loosening one needs a derivation here.
"""

import numpy as np

__all__ = ["LOGITS", "LOGPROB", "OPS", "assert_within", "relative_error"]

_ELEMENTS = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1e-2}
"""Of an op whose inputs and outputs are of this type and whose sums are float32. Half a unit in the last place of bf16 is 2e-3 of a value:
the rest is room for intermediate roundings (probabilities, partial results)."""

OPS: dict[str, dict[str, float]] = {
    op: dict(_ELEMENTS)
    for op in ("attention", "linear", "rms_norm", "add_rms_norm", "rotary", "gate_and_mul", "softcap", "embedding", "moe", "store_kv")
}
OPS["attention"]["fp8_kv"] = 5e-2  # e4m3 keeps three bits of a key's and a value's fraction: 6 % of each, averaged over a context

LOGITS = {"fp32": 1e-4, "bf16": 3e-2}
"""Of a whole model's logits."""

LOGPROB = 1e-5
"""Absolute, of a reported log-probability, from float32 logits."""


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest expected value; infinite where something is not a number or a shape differs."""
    if got.shape != expected.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30))


def assert_within(got: np.ndarray, expected: np.ndarray, op: str, element: str = "fp32") -> None:
    error, bound = relative_error(got, expected), OPS[op][element]
    assert error <= bound, f"{op} in {element}: error {error:.2e} of at most {bound:.0e}"
