"""Positions with three axes, time, row and column, of sequences that show pictures (M-RoPE; Wang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from octavo._runtime import Batch
from octavo.types import MediaSpan, Picture

__all__ = ["AxisPositions", "axis_positions", "positions_by_axis"]

NUM_AXES = 3


class AxisPositions(NamedTuple):
    """Of one sequence.

    Attributes:
        first: int32 [n, 3], of its first n tokens: to the end of the last picture.
        shift: of a later token, its position on every axis less its place in the sequence.
    """

    first: NDArray[np.int32]
    shift: int

    def of(self, start: int, count: int) -> NDArray[np.int32]:
        """int32 [count, 3], of the tokens from place `start` on."""
        known = self.first[start : start + count]
        later = np.arange(start + len(known), start + count, dtype=np.int32) + np.int32(self.shift)
        return np.concatenate([known, np.repeat(later[:, None], NUM_AXES, axis=1)])


def axis_positions(media: Sequence[MediaSpan], pictures: Mapping[bytes, Picture]) -> AxisPositions | None:
    """Positions of a prompt: text counts on on all axes; a picture lies on a grid that begins where the text before it ends, and the text
    behind it goes on from the largest position + 1. None where no picture has a grid. Spans of what is not in `pictures` count as text."""
    runs: list[NDArray[np.int32]] = []
    place = position = 0
    for span in media:
        picture = pictures.get(span.key)
        grid = None if picture is None else picture.grid
        if grid is None:
            continue
        text = np.arange(position, position + span.position - place, dtype=np.int32)
        runs.append(np.repeat(text[:, None], NUM_AXES, axis=1))
        position += len(text)
        cells = np.stack(np.unravel_index(np.arange(span.first, span.first + span.length), grid), axis=1).astype(np.int32)
        runs.append(cells - cells.min(axis=0) + np.int32(position))
        position = int(runs[-1].max()) + 1
        place = span.position + span.length
    return AxisPositions(np.concatenate(runs), position - place) if runs else None


def positions_by_axis(batch: Batch, known: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """int32 [T, 3] of a step: those that are known, or else each token's place in its sequence, on all axes."""
    return np.repeat(batch.positions[:, None], NUM_AXES, axis=1) if known is None else known
