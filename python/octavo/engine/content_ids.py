"""Numbers in place of a picture's placeholders, by which the prefix cache tells pictures apart."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import shake_256

import numpy as np

from octavo.types import MediaSpan

__all__ = ["with_content_ids"]

_MOST = (1 << 31) - 1  # of an int32


def with_content_ids(token_ids: list[int], media: Sequence[MediaSpan], vocab_size: int) -> list[int]:
    """The prompt with a number >= vocab_size for each placeholder, drawn from its picture's key. The list itself where there are none."""
    if not media:
        return token_ids
    token_ids = list(token_ids)
    for span in media:
        words = np.frombuffer(shake_256(span.key).digest(4 * (span.first + span.length)), "<u4")[span.first :]
        token_ids[span.position : span.position + span.length] = (vocab_size + words % (_MOST - vocab_size)).tolist()
    return token_ids
