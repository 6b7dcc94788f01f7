"""LLaVA 1.5 (Liu et al. 2023): one square tile for CLIP, a placeholder for each of its patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.multimodal._image_inputs import ImageInputs
from octavo.multimodal._pixels import centered, patches_of, resized, shortest_edge_size
from octavo.multimodal._settings import CLIP_MEAN, CLIP_STD, Normalisation, processor_keys

__all__ = ["Processor"]

_DEFAULTS = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "resample": 3, "do_pad": False}


class Processor:
    """Implements `ImageProcessor`."""

    image_token = "<image>"

    def __init__(self, folder: Path, config: ConfigKeys) -> None:
        vision = config.section("vision_config")
        keys = processor_keys(folder, _DEFAULTS)
        self._patch_size = vision.count("patch_size", 32)
        self._edge = keys.section("size").count("shortest_edge")
        crop = keys.section("crop_size")
        self._crop = (crop.count("height"), crop.count("width"))
        image_size = vision.count("image_size", 224)
        if self._crop != (image_size, image_size):
            raise keys.refused("crop_size", f"the tower was made for {image_size} x {image_size} pixels")
        self._resample = keys.count("resample", least=0, most=5)
        self._pads = keys.flag("do_pad")
        self._normalise = Normalisation.read(keys, CLIP_MEAN, CLIP_STD)
        self._has_class_token = vision.name("model_type", "clip_vision_model") == "clip_vision_model"
        self._keeps_class_token = config.name("vision_feature_select_strategy", "default") == "full"
        num_patches = (image_size // self._patch_size) ** 2
        self.most_tokens = num_patches + (self._has_class_token and self._keeps_class_token)

    def process(self, image: NDArray[np.uint8]) -> ImageInputs:
        """See `ImageProcessor.process`."""
        if self._pads:
            image = self._on_a_square(image)
        tile = centered(resized(image, shortest_edge_size(image, self._edge), self._resample), self._crop)
        patches = patches_of(self._normalise(tile), self._patch_size)
        if self._has_class_token:
            patches = np.concatenate([np.zeros_like(patches[:1]), patches])
        num_patches = len(patches)
        positions = np.arange(num_patches, dtype=np.int32)
        selected = positions[num_patches - self.most_tokens :].reshape(-1, 1)
        return ImageInputs(patches, positions, (num_patches,), selected, self.image_token * len(selected))

    def _on_a_square(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """In the middle of a square of the mean colour."""
        height, width = image.shape[:2]
        side = max(height, width)
        square = np.empty((side, side, 3), np.uint8)
        square[:] = [int(mean * 255) for mean in self._normalise.mean]
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = image
        return square
