"""What a forward pass takes of pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MediaRows"]


class MediaRows(NamedTuple):
    """A tower's rows, float32 [n, E], for the tokens of a step from `first_token` on."""

    first_token: int
    rows: NDArray[np.float32]
