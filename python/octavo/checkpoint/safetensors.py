"""Reader of one safetensors file (https://huggingface.co/docs/safetensors): header length u64, JSON header, data.

A reader of our own because bfloat16 then needs no torch and tensors are read one at a time.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.expert_names import TensorPart
from octavo.checkpoint.model_file import ModelFile
from octavo.checkpoint.raw_tensor import BLOCK_FORMATS, RawTensor, num_bytes
from octavo.errors import CheckpointError

__all__ = ["SafetensorsFile"]

_MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library


class SafetensorsFile:
    """One .safetensors file: tensors of F32, F16 and BF16."""

    def __init__(self, path: Path) -> None:
        """Open the file and check its directory.

        Raises:
            CheckpointError: missing, truncated or malformed.
        """
        self.path = path
        self._file = ModelFile(path)
        self._data_start, self._entries = self._read_header()
        size = self._file.size - self._data_start
        for name, entry in self._entries.items():
            if entry["data_offsets"][1] > size:
                missing = entry["data_offsets"][1] - size
                raise CheckpointError(
                    f"{path} is truncated: tensor {name} ends {missing} bytes past the end of the file; download it again"
                )

    def names(self) -> set[str]:
        return set(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._entries[name]["shape"])

    def tensor(self, name: str, part: TensorPart) -> RawTensor:
        """Read a part of a tensor of `names()`, perhaps all of it; see `Checkpoint.tensor`."""
        entry = self._entries[name]
        found, dtype, (begin, end) = self.shape(name), entry["dtype"], entry["data_offsets"]
        if dtype not in BLOCK_FORMATS:
            raise CheckpointError(f"{self.path}: tensor {name} has the data type {dtype}; only F32, F16 and BF16 can be read")
        if end - begin != num_bytes(dtype, found):
            raise CheckpointError(
                f"{self.path}: tensor {name} has {end - begin} bytes, not those of a {dtype} {list(found)}; download it again"
            )
        first, size = part.bytes_in(dtype)
        return RawTensor(part.name, part.shape, dtype, self._file.read(self._data_start + begin + first, size))

    def codes(self, name: str, index: int) -> NDArray[np.uint8]:
        """The bytes of entry `index` of the first dimension of a tensor of type U8."""
        entry, shape = self._entries[name], self.shape(name)
        begin, end = entry["data_offsets"]
        if entry["dtype"] != "U8" or end - begin != prod(shape) or not 0 <= index < shape[0]:
            raise CheckpointError(f"{self.path}: tensor {name} is {entry['dtype']} {list(shape)}, not codes of one byte; download it again")
        size = prod(shape[1:])
        return self._file.read(self._data_start + begin + index * size, size)

    def _read_header(self) -> tuple[int, dict[str, dict[str, Any]]]:
        length = int.from_bytes(self._file.read(0, min(8, self._file.size)).tobytes(), "little")
        if length > _MAX_HEADER_BYTES or self._file.size < 8:
            raise CheckpointError(f"{self.path} is not a safetensors file: its first 8 bytes are no header length")
        if 8 + length > self._file.size:
            raise CheckpointError(f"{self.path} is truncated: it ends inside its header; download it again")
        try:
            header = json.loads(self._file.read(8, length).tobytes())
            header.pop("__metadata__", None)
            for entry in header.values():
                begin, end = entry["data_offsets"]
                if not (isinstance(entry["dtype"], str) and min(entry["shape"], default=0) >= 0 and 0 <= begin <= end):
                    raise ValueError("negative size")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{self.path} is damaged: its header is not that of a safetensors file; download it again") from error
        return 8 + length, header
