"""Numbers read from a config.json dictionary, with the error that names the key."""

from __future__ import annotations

from typing import Any

from octavo.errors import CheckpointError

__all__ = ["count"]


def count(config: dict[str, Any], *keys: str) -> int:
    """The value of the first of these keys that is there. Raises `CheckpointError` unless it is a whole number of at least 1."""
    key = next((key for key in keys if config.get(key) is not None), keys[0])
    value = config.get(key)
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(f"config.json: {key} is {value!r}; a whole number of at least 1 is needed")
    return value
