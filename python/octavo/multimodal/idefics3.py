"""Idefics3 and SmolVLM (Laurençon et al. 2024; Marafioti et al. 2025): square tiles row by row, then the whole picture as one tile more."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.multimodal._image_inputs import ImageInputs
from octavo.multimodal._pixels import patches_of, resized
from octavo.multimodal._settings import HALF, Normalisation, processor_keys

__all__ = ["Processor"]

_MAX_SIDE = 4096  # of a picture that is cut into tiles
_AROUND, _WHOLE = "<fake_token_around_image>", "<global-img>"
_DEFAULTS = {
    "size": {"longest_edge": 4 * 364},
    "max_image_size": {"longest_edge": 364},
    "resample": 1,
    "do_image_splitting": True,
}


class Processor:
    """Implements `ImageProcessor`."""

    image_token = "<image>"

    def __init__(self, folder: Path, config: ConfigKeys) -> None:
        vision = config.section("vision_config")
        keys = processor_keys(folder, _DEFAULTS)
        self._patch_size = vision.count("patch_size", 32)
        self._longest = keys.section("size").count("longest_edge")
        self._tile = keys.section("max_image_size").count("longest_edge")
        image_size = vision.count("image_size", 224)
        if self._tile != image_size:
            raise keys.refused("max_image_size", f"the tower was made for {image_size} x {image_size} pixels")
        self._resample = keys.count("resample", least=0, most=5)
        self._splits = keys.flag("do_image_splitting", True)
        self._normalise = Normalisation.read(keys, HALF, HALF)
        side, factor = image_size // self._patch_size, config.count("scale_factor", 2)
        if side % factor:
            raise config.refused("scale_factor", f"a divisor of the tower's {side} patches on a side is needed")
        self._positions = np.arange(side * side, dtype=np.int32)
        blocks = self._positions.reshape(side // factor, factor, side // factor, factor)
        self._selected = np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).reshape(-1, factor * factor)
        on_a_side = -(-min(self._longest, _MAX_SIDE) // self._tile)
        most_tiles = on_a_side * on_a_side + 1 if self._splits else 1
        self.most_tokens = most_tiles * len(self._selected)

    def process(self, image: NDArray[np.uint8]) -> ImageInputs:
        """See `ImageProcessor.process`."""
        image = self._resize(image, _size_of_longest(image, self._longest))
        tiles, rows, columns = self._cut(image) if self._splits else ([self._resize(image, (self._tile, self._tile))], 0, 0)
        patches = [patches_of(self._normalise(tile), self._patch_size) for tile in tiles]
        num_patches = len(self._positions)
        selected = [self._selected + index * num_patches for index in range(len(tiles))]
        return ImageInputs(
            np.concatenate(patches),
            np.tile(self._positions, len(tiles)),
            (num_patches,) * len(tiles),
            np.concatenate(selected),
            self._text(rows, columns),
        )

    def _cut(self, image: NDArray[np.uint8]) -> tuple[list[NDArray[np.uint8]], int, int]:
        """The tiles, the whole picture last, and how many rows and columns of them there are; 0 where the picture is one tile."""
        tile = self._tile
        image = self._resize(image, _size_of_whole_tiles(image, tile))
        rows, columns = image.shape[0] // tile, image.shape[1] // tile
        whole = self._resize(image, (tile, tile))
        if rows == columns == 1:
            return [whole], 0, 0
        cut = [
            image[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile] for row in range(rows) for column in range(columns)
        ]
        return [*cut, whole], rows, columns

    def _text(self, rows: int, columns: int) -> str:
        placeholders = self.image_token * len(self._selected)
        whole = f"{_AROUND}{_WHOLE}{placeholders}{_AROUND}"
        if not rows:
            return whole
        tiles = [
            "".join(f"{_AROUND}<row_{row}_col_{column}>{placeholders}" for column in range(1, columns + 1)) + "\n"
            for row in range(1, rows + 1)
        ]
        return "".join(tiles) + "\n" + whole

    def _resize(self, image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        return resized(image, size, self._resample)


def _size_of_longest(image: NDArray[np.uint8], longest: int) -> tuple[int, int]:
    """(height, width) of the same shape with the longer side given, the shorter one even; at most `_MAX_SIDE`."""
    height, width = image.shape[:2]
    ratio = width / height
    if width >= height:
        height, width = _even(int(longest / ratio)), longest
    else:
        height, width = longest, _even(int(longest * ratio))
    ratio = width / height
    if width >= height and width > _MAX_SIDE:
        height, width = int(_MAX_SIDE / ratio), _MAX_SIDE
    elif height > width and height > _MAX_SIDE:
        height, width = _MAX_SIDE, int(_MAX_SIDE * ratio)
    return max(height, 1), max(width, 1)


def _even(size: int) -> int:
    return size + size % 2


def _size_of_whole_tiles(image: NDArray[np.uint8], tile: int) -> tuple[int, int]:
    """(height, width) rounded up to whole tiles, the shorter side after the longer one."""
    height, width = image.shape[:2]
    ratio = width / height

    def up(size: int) -> int:
        return math.ceil(size / tile) * tile

    if width >= height:
        width = up(width)
        return up(max(int(width / ratio), 1)), width
    height = up(height)
    return height, up(max(int(height * ratio), 1))
