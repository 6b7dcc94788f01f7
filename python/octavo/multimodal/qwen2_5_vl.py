"""Qwen2.5-VL (Bai et al. 2025): as Qwen2-VL, with the squares of patches in the order of the windows that most blocks look through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.multimodal import qwen2_vl
from octavo.multimodal._image_inputs import ImageInputs

__all__ = ["Processor"]


class Processor(qwen2_vl.Processor):
    """Implements `ImageProcessor`."""

    def __init__(self, folder: Path, config: ConfigKeys) -> None:
        super().__init__(folder, config)
        vision = config.section("vision_config")
        self._side = vision.count("window_size", 112) // self.patch // self.merge  # of a window, in squares
        if self._side < 1:
            raise vision.refused("window_size", f"a window must hold {self.patch * self.merge} pixels on a side at least")

    def process(self, image: NDArray[np.uint8]) -> ImageInputs:
        """See `ImageProcessor.process`."""
        inputs = super().process(image)
        assert inputs.grid is not None
        _, rows, columns = inputs.grid
        windows = [
            np.arange(rows * columns).reshape(rows, columns)[top : top + self._side, left : left + self._side].reshape(-1)
            for top in range(0, rows, self._side)
            for left in range(0, columns, self._side)
        ]
        order, square = np.concatenate(windows), self.merge**2
        moved = (order[:, None] * square + np.arange(square)).reshape(-1)
        return replace(
            inputs,
            patches=inputs.patches[moved],
            positions=inputs.positions[moved],
            selected=inputs.selected[np.argsort(order)],
            window_sizes=tuple(len(window) * square for window in windows),
        )
