"""The other half of a model of text and pictures: its tower's configuration and tensors, a checkpoint by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from octavo.checkpoint.expert_names import tensor_parts
from octavo.checkpoint.raw_tensor import BLOCK_FORMATS, RawTensor, check_shape
from octavo.checkpoint.safetensors import SafetensorsFile
from octavo.errors import CheckpointError

__all__ = ["MediaHalf"]

_TIME_CONVOLUTION = re.compile(r"encoder\.conv\d\.weight")


class MediaHalf:
    """A `Checkpoint` whose `config` is config.json, whole.

    Args:
        tensors: name -> the file that holds it, and what it is called there.
    """

    def __init__(self, path: Path, config: dict[str, Any], tensors: Mapping[str, tuple[SafetensorsFile, str]]) -> None:
        self.path = path
        self.config = config
        self.generation_config: dict[str, Any] = {}
        self._tensors = dict(tensors)
        self._taps: dict[str, tuple[str, int]] = {}
        for name, (file, stored_name) in tensors.items():
            shape = file.shape(stored_name)
            if len(shape) == 3 and _TIME_CONVOLUTION.fullmatch(name):
                stem = name.removesuffix(".weight")
                self._taps |= {f"{stem}.tap{tap}.weight": (name, tap) for tap in range(shape[2])}

    def names(self) -> set[str]:
        whole = {name for name, _ in self._taps.values()}
        return set(self._tensors) - whole | set(self._taps)

    def media_half(self) -> None:
        """None: there is no tower."""
        return

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> RawTensor:
        """See `Checkpoint.tensor`. The weight of a convolution over patches is a matrix: [out, channels * height * width].

        That of a convolution over time, [out, in, taps], is a matrix [out, in] for each tap: `conv1.tap0.weight` and so on.
        """
        if name in self._taps:
            return self._tap(*self._taps[name], name, shape)
        if name not in self._tensors:
            raise CheckpointError(f"{self.path}: tensor {name} is missing from the safetensors files")
        file, stored_name = self._tensors[name]
        (part,) = tensor_parts(name, file.shape(stored_name), stored_name)
        raw = file.tensor(stored_name, part)
        if len(raw.shape) > 2:
            raw = replace(raw, shape=(raw.shape[0], prod(raw.shape[1:])))
        check_shape(file.path, name, raw.shape, shape)
        return raw

    def _tap(self, stored: str, tap: int, name: str, shape: tuple[int, ...] | None) -> RawTensor:
        file, stored_name = self._tensors[stored]
        (part,) = tensor_parts(stored, file.shape(stored_name), stored_name)
        raw = file.tensor(stored_name, part)
        values = raw.data.reshape(*raw.shape, BLOCK_FORMATS[raw.format][1])  # plain values: safetensors have no blocks
        data = np.ascontiguousarray(values[:, :, tap]).reshape(-1)
        check_shape(file.path, name, raw.shape[:2], shape)
        return RawTensor(name, raw.shape[:2], raw.format, data)
