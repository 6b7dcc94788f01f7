"""Reader of a GGUF file's header: metadata and tensor directory. Versions 2 and 3, little-endian.

Layout (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, version u32, tensor count u64, metadata count u64;
per metadata entry a string key, a type u32 and a value; per tensor a string name, dimension count u32, dimensions u64 (innermost
first), type u32 and an offset u64 into the data section, which starts at the next multiple of `general.alignment`.

A vocabulary has 10^5 strings, so `_strings` is the one hot loop; numeric arrays become numpy views of the bytes read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octavo.checkpoint.config_keys import MetadataKeys
from octavo.checkpoint.model_file import ModelFile
from octavo.checkpoint.raw_tensor import num_bytes
from octavo.errors import CheckpointError

__all__ = ["GgufTensor", "read_header"]

_MAGIC = b"GGUF"
_FIRST_BYTES = 8 << 20
_STRING, _ARRAY = 8, 9
_DTYPES: dict[int, np.dtype[Any]] = {
    code: np.dtype(name)
    for code, name in {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}.items()
}
_FORMATS = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    30: "BF16",
}
_UNREADABLE_FORMATS = {9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL"}
_UNREADABLE_FORMATS |= {21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4"}
_u32 = struct.Struct("<I").unpack_from
_u64 = struct.Struct("<Q").unpack_from


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A directory entry. `shape` is outermost first; the data are bytes [start, start + size) of the file, or of its shard."""

    name: str
    shape: tuple[int, ...]
    format: str
    start: int
    size: int
    shard: int = 0


def read_header(path: Path, file: ModelFile) -> tuple[dict[str, Any], list[GgufTensor]]:
    """Return metadata (scalars and strings as Python values, numeric arrays as numpy arrays, string arrays as lists) and tensors.

    How long a header is shows only as it is read: it is read again with more of the file where the first bytes are not enough.

    Raises:
        CheckpointError: not a GGUF file, another version, truncated, or a tensor of an unknown type.
    """
    size = min(_FIRST_BYTES, file.size)
    while True:
        data = file.read(0, size).tobytes()
        if data[:4] != _MAGIC:
            raise CheckpointError(f"{path} is not a GGUF file: it does not start with the bytes 'GGUF'")
        try:
            return _Header(path, data, file.size).read()
        except (struct.error, OverflowError) as error:
            if size == file.size:
                raise CheckpointError(f"{path} is truncated: it ends inside its header; download it again") from error
        except UnicodeDecodeError as error:
            if size == file.size:
                raise CheckpointError(f"{path} is damaged: its header holds a string that is not UTF-8; download it again") from error
        size = min(4 * size, file.size)


class _Header:
    """A cursor over the first bytes of a file. Reading past them raises struct.error."""

    def __init__(self, path: Path, data: bytes, file_size: int) -> None:
        self.path = path
        self.file = data
        self.file_size = file_size
        self.position = len(_MAGIC)

    def read(self) -> tuple[dict[str, Any], list[GgufTensor]]:
        version = self._next_u32()
        if version not in (2, 3):
            why = "it is big-endian" if version in (0x02000000, 0x03000000) else "only versions 2 and 3 can be read"
            raise CheckpointError(f"{self.path} has GGUF version {version}: {why}; convert the model again with a current llama.cpp")
        num_tensors, num_entries = self._next_u64(), self._next_u64()
        metadata = dict(self._entry() for _ in range(num_entries))
        directory = [self._tensor() for _ in range(num_tensors)]
        alignment = MetadataKeys(self.path, metadata).count("general.alignment", 32, most=1 << 20)
        base = -(-self.position // alignment) * alignment
        return metadata, [self._located(*entry, base) for entry in directory]

    def _next_u32(self) -> int:
        (value,) = _u32(self.file, self.position)
        self.position += 4
        return value

    def _next_u64(self) -> int:
        (value,) = _u64(self.file, self.position)
        self.position += 8
        return value

    def _strings(self, count: int) -> list[str]:
        texts: list[str] = []
        file, position = self.file, self.position
        append, unpack = texts.append, _u64
        for _ in range(count):
            start = position + 8
            position = start + unpack(file, position)[0]
            append(file[start:position].decode())
        if position > len(file):
            raise struct.error("string past the end")
        self.position = position
        return texts

    def _string(self) -> str:
        return self._strings(1)[0]

    def _numbers(self, dtype: np.dtype[Any], count: int) -> np.ndarray:
        if self.position + count * dtype.itemsize > len(self.file):
            raise struct.error("array past the end")
        values = np.frombuffer(self.file, dtype, count, self.position)
        self.position += values.nbytes
        return values

    def _entry(self) -> tuple[str, Any]:
        key, kind = self._string(), self._next_u32()
        if kind == _STRING:
            return key, self._string()
        if kind != _ARRAY:
            return key, self._numbers(self._dtype(key, kind), 1)[0].item()
        kind, count = self._next_u32(), self._next_u64()
        return key, self._strings(count) if kind == _STRING else self._numbers(self._dtype(key, kind), count)

    def _dtype(self, key: str, kind: int) -> np.dtype[Any]:
        if kind not in _DTYPES:
            raise CheckpointError(
                f"{self.path}: metadata key {key!r} has the unknown type {kind}; the file is damaged or newer than this reader"
            )
        return _DTYPES[kind]

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        shape = tuple(self._next_u64() for _ in range(self._next_u32()))
        return name, shape[::-1], self._next_u32(), self._next_u64()

    def _located(self, name: str, shape: tuple[int, ...], kind: int, offset: int, base: int) -> GgufTensor:
        if kind not in _FORMATS:
            raise CheckpointError(
                f"{self.path}: tensor {name} has the type {_UNREADABLE_FORMATS.get(kind, kind)}, which cannot be read; "
                f"take a file quantised to one of: {', '.join(_FORMATS.values())}"
            )
        try:
            size = num_bytes(_FORMATS[kind], shape)
        except ValueError as error:
            raise CheckpointError(f"{self.path}: tensor {name} is malformed: {error}; download the file again") from error
        if base + offset + size > self.file_size:
            missing = base + offset + size - self.file_size
            raise CheckpointError(
                f"{self.path} is truncated: tensor {name} ends {missing} bytes past the end of the file; download it again"
            )
        return GgufTensor(name, shape, _FORMATS[kind], base + offset, size)
