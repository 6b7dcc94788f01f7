"""`load_format=dummy`: random weights from a config.json alone, to time a model without having it."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.hf_folder import read_configs, read_json
from octavo.checkpoint.raw_tensor import BLOCK_FORMATS, RawTensor
from octavo.errors import CheckpointError

__all__ = ["DummyCheckpoint"]

_STD = 0.02
_TILE = 1 << 16  # values drawn; larger tensors repeat them from an offset that the name decides
_FORMATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class DummyCheckpoint:
    """Makes up every tensor that is asked for; a `Checkpoint`. Equal seeds, names and shapes give equal values."""

    def __init__(self, path: str | Path, seed: int = 0) -> None:
        """Read the configuration.

        Args:
            path: a config.json, or the folder that holds one.

        Raises:
            CheckpointError: no config.json there, or not JSON.
        """
        self.path = Path(path)
        if self.path.is_file():
            config, generation_config = read_json(self.path), dict[str, Any]()
        else:
            config, generation_config = read_configs(self.path)
        self.config, self.generation_config = config, generation_config
        dtype = str(self.config.get("dtype") or self.config.get("torch_dtype") or "bfloat16")
        if dtype not in _FORMATS:
            raise CheckpointError(f"{self.path}: dtype is {dtype!r}; dummy weights can be {', '.join(_FORMATS)}")
        self._format = _FORMATS[dtype]
        tile = np.random.default_rng(seed).normal(0.0, _STD, _TILE).astype(np.float32)
        self._tile = _encoded(tile, self._format)
        self._one = _encoded(np.ones(1, np.float32), self._format)

    def names(self) -> None:
        """None: any name will do."""
        return

    def media_half(self) -> None:
        """None: there is no tower."""
        return

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> RawTensor:
        """Return ones for norm weights, else values drawn from N(0, 0.02). Raises CheckpointError when `shape` is not given."""
        if shape is None:
            raise CheckpointError(f"{self.path}: tensor {name} was asked for without a shape, which dummy weights need")
        if name.endswith("norm.weight"):
            values = np.resize(self._one, prod(shape))
        else:
            values = np.resize(np.roll(self._tile, crc32(name.encode()) % _TILE), prod(shape))
        data: Any = values.view(np.uint8)
        return RawTensor(name, tuple(shape), self._format, data)


def _encoded(values: NDArray[np.float32], format_name: str) -> NDArray[Any]:
    """Convert to the storage type; bfloat16 as its upper 16 bits, truncated, which noise may be."""
    if format_name == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(f"<f{BLOCK_FORMATS[format_name][1]}")
