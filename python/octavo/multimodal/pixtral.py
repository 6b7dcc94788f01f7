"""Pixtral (Mistral AI 2024): a picture keeps its shape; a placeholder for each patch, a break after each row of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.multimodal._image_inputs import ImageInputs
from octavo.multimodal._pixels import patches_of, resized
from octavo.multimodal._settings import CLIP_MEAN, CLIP_STD, Normalisation, processor_keys

__all__ = ["Processor"]

_BREAK, _END = "[IMG_BREAK]", "[IMG_END]"
_DEFAULTS = {"size": {"longest_edge": 1024}, "resample": 3}


class Processor:
    """Implements `ImageProcessor`."""

    image_token = "[IMG]"

    def __init__(self, folder: Path, config: ConfigKeys) -> None:
        vision = config.section("vision_config", {"image_size": 1024, "patch_size": 16})
        keys = processor_keys(folder, _DEFAULTS)
        self._patch_size = vision.count("patch_size")
        self._grid = vision.count("image_size") // self._patch_size
        self._longest = keys.section("size").count("longest_edge")
        if -(-self._longest // self._patch_size) > self._grid:
            raise keys.refused("size", f"the tower was made for {self._grid * self._patch_size} pixels on a side at most")
        self._resample = keys.count("resample", least=0, most=5)
        self._normalise = Normalisation.read(keys, CLIP_MEAN, CLIP_STD)
        self.most_tokens = self._grid**2

    def process(self, image: NDArray[np.uint8]) -> ImageInputs:
        """See `ImageProcessor.process`."""
        height, width = image.shape[:2]
        ratio = max(height / self._longest, width / self._longest, 1.0)
        rows, columns = (-(-max(int(side / ratio), 1) // self._patch_size) for side in (height, width))
        tile = resized(image, (rows * self._patch_size, columns * self._patch_size), self._resample)
        positions = np.arange(rows)[:, None] * self._grid + np.arange(columns)
        num_patches = rows * columns
        return ImageInputs(
            patches_of(self._normalise(tile), self._patch_size),
            positions.astype(np.int32).reshape(-1),
            (num_patches,),
            np.arange(num_patches, dtype=np.int32).reshape(-1, 1),
            _BREAK.join([self.image_token * columns] * rows) + _END,
        )
