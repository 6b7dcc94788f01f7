"""What a vision tower reads of one picture: patches, where each stands, and which of them the language model gets to see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageInputs"]


@dataclass(frozen=True, slots=True, eq=False)
class ImageInputs:
    """One picture, ready for a tower. It may be cut into several tiles, which the tower looks at one by one.

    Attributes:
        patches: float32 [N, C * P * P], normalised pixels, channels first; zeros where a tower has a token that is no patch.
        positions: int32 [N], row of the tower's position table for each patch; or [N, A], the patch's place on each of its axes.
        tile_sizes: patches of each tile, in order; they add up to N. Patches of one tile see each other.
        selected: int32 [M, F], patches that make up each of the M rows that the language model reads in place of placeholder tokens.
        text: what stands in the prompt for the picture; it has M placeholders.
        grid, window_sizes: see `Picture`.
    """

    patches: NDArray[np.float32]
    positions: NDArray[np.int32]
    tile_sizes: tuple[int, ...]
    selected: NDArray[np.int32]
    text: str
    grid: tuple[int, int, int] | None = None
    window_sizes: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Placeholders in the prompt, M."""
        return len(self.selected)
