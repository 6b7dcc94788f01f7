"""The other half of a model of text and pictures: its tower's configuration and tensors, a checkpoint by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from octavo.checkpoint.expert_names import tensor_parts
from octavo.checkpoint.raw_tensor import RawTensor, check_shape
from octavo.checkpoint.safetensors import SafetensorsFile
from octavo.errors import CheckpointError

__all__ = ["MediaHalf"]


class MediaHalf:
    """A `Checkpoint` whose `config` is config.json, whole.

    Args:
        tensors: name -> the file that holds it, and what it is called there.
    """

    def __init__(self, path: Path, config: dict[str, Any], tensors: Mapping[str, tuple[SafetensorsFile, str]]) -> None:
        self.path = path
        self.config = config
        self.generation_config: dict[str, Any] = {}
        self._tensors = tensors

    def names(self) -> set[str]:
        return set(self._tensors)

    def media_half(self) -> None:
        """None: there is no tower."""
        return

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> RawTensor:
        """See `Checkpoint.tensor`. The weight of a convolution over patches is a matrix: [out, channels * height * width]."""
        if name not in self._tensors:
            raise CheckpointError(f"{self.path}: tensor {name} is missing from the safetensors files")
        file, stored_name = self._tensors[name]
        (part,) = tensor_parts(name, file.shape(stored_name), stored_name)
        raw = file.tensor(stored_name, part)
        if len(raw.shape) > 2:
            raw = replace(raw, shape=(raw.shape[0], prod(raw.shape[1:])))
        check_shape(file.path, name, raw.shape, shape)
        return raw
