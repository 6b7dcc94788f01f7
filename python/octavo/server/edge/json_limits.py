"""How many values a JSON text holds, counted in its bytes: a parsed value takes up to a hundred times the bytes that wrote it."""

from __future__ import annotations

import re

from octavo.server.edge.errors import ApiError

__all__ = ["MAX_VALUES", "check_num_values"]

MAX_VALUES = 262_144  # values and keys of one body
_STRUCTURE = b',:[{"'
_OTHERS = bytes(set(range(256)) - set(_STRUCTURE))
_STRING = re.compile(rb'"[^"]*"')
_PIECE = 64 * 1024  # bytes searched in one call, which holds the GIL


def check_num_values(raw: bytes) -> None:
    """Raise `ApiError` 400 where `raw` has more than `MAX_VALUES` values. Counts nothing where the bytes alone show that it has not."""
    if sum(map(raw.count, (b",", b":", b"[", b"{"))) < MAX_VALUES:
        return
    structure = raw.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
    if structure.count(b'"') > 2 * MAX_VALUES or _num_outside_strings(structure) >= MAX_VALUES:
        message = f"the request body has more than {MAX_VALUES} JSON values; the server takes no more in one request"
        raise ApiError(400, message, code="too_many_values")


def _num_outside_strings(structure: bytes) -> int:
    """Return how many commas, colons and opening brackets are outside of strings: each has one value or key behind it."""
    total, carried = 0, b""
    for start in range(0, len(structure), _PIECE):
        piece = _STRING.sub(b"", carried + structure[start : start + _PIECE])
        outside, quote, _ = piece.partition(b'"')
        total += len(outside)
        carried = quote  # of a string that goes on, only its opening matters
    return total
