"""Model families, one file each: the file name is the checkpoint's `model_type`, and the file's `Model` is the class to build."""

from __future__ import annotations

from octavo.errors import CheckpointError
from octavo.models._decoder import Decoder
from octavo.plugins import available, load

__all__ = ["model_class"]


def model_class(model_type: str) -> type[Decoder]:
    """Return the class that serves `model_type`. Raises `CheckpointError` listing the known ones."""
    try:
        return load("octavo.models", model_type).Model
    except LookupError:
        known = ", ".join(available("octavo.models"))
        raise CheckpointError(f"model_type {model_type!r} is not supported; supported: {known}") from None
