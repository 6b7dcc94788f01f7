"""Arithmetic of images as vision models were trained with it: Pillow's resampling, then numpy.

Pictures are uint8 [height, width, 3] until they are normalised, and float32 of the same shape afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["centered", "normalised", "patches_of", "resized", "shortest_edge_size"]

Pixels = NDArray[np.uint8]


def resized(image: Pixels, size: tuple[int, int], resample: int) -> Pixels:
    """Resample to (height, width). `resample`: Pillow's number of a filter."""
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling(resample)))


def shortest_edge_size(image: Pixels, edge: int) -> tuple[int, int]:
    """(height, width) of the same shape whose shorter side is `edge`."""
    height, width = image.shape[:2]
    long = int(edge * max(height, width) / min(height, width))
    return (long, edge) if width <= height else (edge, long)


def centered(image: Pixels, size: tuple[int, int]) -> Pixels:
    """The middle of the image; black where it is smaller than `size` (height, width)."""
    for axis, wanted in enumerate(size):
        have = image.shape[axis]
        if have < wanted:
            before = -(-(wanted - have) // 2)
            padding = [(0, 0)] * 3
            padding[axis] = (before, wanted - have - before)
            image = np.pad(image, padding)
        elif have > wanted:
            start = (have - wanted) // 2
            image = np.take(image, range(start, start + wanted), axis=axis)
    return image


def normalised(image: Pixels, factor: float, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """(image * factor - mean) / std, by channel."""
    scaled = image.astype(np.float32) * np.float32(factor)
    return (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)


def patches_of(image: NDArray[np.float32], patch_size: int) -> NDArray[np.float32]:
    """float32 [rows * columns, 3 * P * P]: the patches row by row, each channels first, as a convolution's weight has them.

    Pixels at the right and the bottom that fill no patch are left out.
    """
    rows, columns = image.shape[0] // patch_size, image.shape[1] // patch_size
    cut = image[: rows * patch_size, : columns * patch_size].reshape(rows, patch_size, columns, patch_size, 3)
    return np.ascontiguousarray(cut.transpose(0, 2, 4, 1, 3)).reshape(rows * columns, -1)
