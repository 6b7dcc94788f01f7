"""Qwen3-VL (Bai et al. 2025): as Qwen2-VL, with what each patch takes of the tower's grid of learned positions."""

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
    """Implements `ImageProcessor`. To a patch's values come the shares of four learned positions, to its row and column their numbers."""

    patch_size = 16

    def __init__(self, folder: Path, config: ConfigKeys) -> None:
        super().__init__(folder, config)
        self._side = int(config.section("vision_config").count("num_position_embeddings", 2304) ** 0.5)

    def process(self, image: NDArray[np.uint8]) -> ImageInputs:
        """See `ImageProcessor.process`."""
        inputs = super().process(image)
        assert inputs.grid is not None
        taps = [_taps(inputs.positions[:, axis], count * self.merge, self._side) for axis, count in enumerate(inputs.grid[1:])]
        (rows, row_shares), (columns, column_shares) = taps
        numbers = (rows[:, :, None] * self._side + columns[:, None, :]).reshape(-1, 4)
        shares = (row_shares[:, :, None] * column_shares[:, None, :]).reshape(-1, 4)
        return replace(
            inputs,
            patches=np.concatenate([inputs.patches, shares.astype(np.float32)], axis=1),
            positions=np.concatenate([inputs.positions, numbers.astype(np.int32)], axis=1),
        )


def _taps(places: NDArray[np.int32], size: int, side: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The two learned positions of `side` on an axis between which each place of `size` lies, and their shares (bilinear, ends on ends)."""
    at = places.astype(np.float32) * np.float32(side - 1) / np.float32(max(size - 1, 1))
    low = np.floor(at)
    high_share = at - low
    numbers = np.minimum(np.stack([low, low + 1], axis=1), side - 1).astype(np.int32)
    return numbers, np.stack([1 - high_share, high_share], axis=1)
