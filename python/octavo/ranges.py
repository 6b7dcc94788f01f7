"""Whether a number that a caller gave is one, and within its bounds."""

from __future__ import annotations

import struct
from numbers import Integral, Real

from octavo.errors import InvalidRequestError

__all__ = ["check_float", "check_integer"]


def check_integer(name: str, value: int | None, low: int, high: int) -> None:
    """Raise `InvalidRequestError` that names `name`, unless `value` is None or an integer of low..high."""
    if value is None or (type(value) is int and low <= value <= high):
        return
    if not isinstance(value, Integral):
        raise InvalidRequestError(f"{name} is {value!r}; it must be an integer", name)
    if not low <= value <= high:
        raise InvalidRequestError(f"{name} is {value}; it must be at least {low} and at most {high}", name)


def check_float(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise `InvalidRequestError` that names `name` (without an index), unless `value` is a number of low..high, NaN being none.

    Args:
        open_low: `low` itself is not allowed, nor what becomes `low` in float32.
    """
    if type(value) is float and not open_low and low <= value <= high:
        return  # nearly all there are: abstract classes take five times as long to ask
    field_name = name.partition("[")[0]
    if not isinstance(value, Real):
        raise InvalidRequestError(f"{name} is {value!r}; it must be a number", field_name)
    bounds = f"{'greater than' if open_low else 'at least'} {low} and at most {high}"
    if not low <= value <= high:  # also true of NaN
        raise InvalidRequestError(f"{name} is {value}; it must be {bounds}", field_name)
    if open_low and _as_float32(value) == low:
        raise InvalidRequestError(f"{name} is {value}, which is {low} in float32; it must be {bounds}", field_name)


def _as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])
