"""Which family reads a model's pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octavo.plugins import available

__all__ = ["MOST_PATCHES", "media_family"]

MOST_PATCHES = 16384
"""Most patches of a picture whose files allow any shape, 3.2 million pixels in patches of 14 x 14: memory for the largest is set aside."""


def media_family(package: str, config: Mapping[str, Any]) -> str | None:
    """The file of `package` for a model: of its vision tower's `model_type`, or else of its own; None where there is neither.

    Args:
        config: config.json, whole.
    """
    vision = config.get("vision_config")
    names = [vision.get("model_type") if isinstance(vision, dict) else None, config.get("model_type")]
    known = available(package)
    return next((name for name in names if isinstance(name, str) and name in known), None)
