"""Qwen2-VL (Wang et al. 2024): a picture keeps its shape; squares of patches stand one after the other, a placeholder for each square."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.media_family import MOST_PATCHES
from octavo.multimodal._image_inputs import ImageInputs
from octavo.multimodal._pixels import resized
from octavo.multimodal._settings import CLIP_MEAN, CLIP_STD, Normalisation, processor_keys

__all__ = ["Processor"]

Ints = NDArray[np.int32]


class Processor:
    """Implements `ImageProcessor`. Pictures are scaled to at most `MOST_PATCHES` patches, whatever the files allow."""

    image_token = "<|image_pad|>"
    patch_size: ClassVar[int] = 14  # where config.json gives none

    def __init__(self, folder: Path, config: ConfigKeys) -> None:
        vision = config.section("vision_config", {"patch_size": self.patch_size, "spatial_merge_size": 2, "temporal_patch_size": 2})
        keys = processor_keys(folder, {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}, "resample": 3})
        self.patch, self.merge = vision.count("patch_size", most=256), vision.count("spatial_merge_size", most=16)
        self.frames = vision.count("temporal_patch_size", most=16)
        for key, needed in (("patch_size", self.patch), ("merge_size", self.merge), ("temporal_patch_size", self.frames)):
            if keys.count(key, needed) != needed:
                raise keys.refused(key, f"the tower was made for {needed}")
        self._least, self._most = (_pixels(keys, *names) for names in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")))
        self._most = min(self._most, MOST_PATCHES * self.patch**2)
        if self._least > self._most:
            raise keys.refused("size", f"shortest_edge must be at most longest_edge, and at most {self._most} pixels")
        self._resample = keys.count("resample", least=0, most=5)
        self._normalise = Normalisation.read(keys, CLIP_MEAN, CLIP_STD)
        self.most_tokens = self._most // (self.patch * self.merge) ** 2

    def process(self, image: NDArray[np.uint8]) -> ImageInputs:
        """See `ImageProcessor.process`."""
        height, width = smart_size(image.shape[0], image.shape[1], self.patch * self.merge, self._least, self._most)
        patches = self._patches(self._normalise(resized(image, (height, width), self._resample)))
        rows, columns = height // self.patch, width // self.patch
        positions = np.stack([self._by_squares(places) for places in np.indices((rows, columns))], axis=1).astype(np.int32)
        num_rows = len(patches) // self.merge**2
        return ImageInputs(
            patches,
            positions,
            (len(patches),),
            np.arange(len(patches), dtype=np.int32).reshape(num_rows, -1),
            self.image_token * num_rows,
            grid=(1, rows // self.merge, columns // self.merge),
        )

    def _by_squares(self, places: NDArray[Any]) -> NDArray[Any]:
        """[rows * columns] of [rows, columns]: merge x merge patches of a square one after the other."""
        rows, columns = places.shape
        squares = places.reshape(rows // self.merge, self.merge, columns // self.merge, self.merge)
        return squares.transpose(0, 2, 1, 3).reshape(-1)

    def _patches(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, 3 * frames * P * P]: channels first, every frame the same."""
        merge, patch = self.merge, self.patch
        rows, columns = image.shape[0] // (merge * patch), image.shape[1] // (merge * patch)
        cut = image.reshape(rows, merge, patch, columns, merge, patch, 3).transpose(0, 3, 1, 4, 6, 2, 5)
        frames = np.repeat(cut[:, :, :, :, :, None], self.frames, axis=5)
        return np.ascontiguousarray(frames).reshape(rows * columns * merge**2, -1)


def _pixels(keys: ConfigKeys, old: str, key: str) -> int:
    return keys.count(old, most=1 << 30) if old in keys else keys.section("size").count(key, most=1 << 30)


def smart_size(height: int, width: int, factor: int, least: int, most: int) -> tuple[int, int]:
    """(height, width) of about the same shape in whole squares of `factor` pixels, `least` to `most` pixels of them together."""
    rows, columns = round(height / factor), round(width / factor)
    if rows * columns * factor**2 > most:
        shrink = math.sqrt(height * width / most)
        rows, columns = (max(1, math.floor(side / shrink / factor)) for side in (height, width))
    elif rows * columns * factor**2 < least:
        stretch = math.sqrt(least / (height * width))
        rows, columns = (math.ceil(side * stretch / factor) for side in (height, width))
    return rows * factor, columns * factor
