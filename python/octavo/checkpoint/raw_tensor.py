"""What every checkpoint format is read into: `RawTensor`, bytes in a named format, and the `Checkpoint` protocol.

Block formats are those of ggml (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): a row of values is a whole number
of blocks, each holding its values' bits together with their scales. U4_G* and U8_G* are codes of one byte
with a float32 scale and minimum for each block.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from octavo.errors import CheckpointError

__all__ = ["BLOCK_FORMATS", "Checkpoint", "RawTensor", "check_shape", "num_bytes"]

# format -> (values in a block, bytes of a block)
BLOCK_FORMATS: dict[str, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "U4_G32": (32, 40),
    "U4_G64": (64, 72),
    "U4_G128": (128, 136),
    "U8_G32": (32, 40),
    "U8_G128": (128, 136),
}


@dataclass(frozen=True, slots=True)
class RawTensor:
    """A tensor as it is stored.

    Attributes:
        name: Hugging Face name.
        shape: row-major, outermost first; a matrix is [rows, cols].
        format: a key of `BLOCK_FORMATS`.
        data: uint8 [num_bytes(format, shape)], little-endian; read-only.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    data: NDArray[np.uint8]


class Checkpoint(Protocol):
    """A read-only view of model files under Hugging Face names and conventions.

    Attributes:
        path: the file or folder it was opened from.
        config: contents of Hugging Face's config.json, or what a GGUF file's metadata says in the same words.
        generation_config: contents of generation_config.json; has `eos_token_id` (int or list of int) where it is known.
    """

    path: Path
    config: dict[str, Any]
    generation_config: dict[str, Any]

    def names(self) -> set[str] | None:
        """Names of all tensors; None where the checkpoint makes up whatever is asked for (`load_format=dummy`)."""
        ...

    def media_half(self) -> Checkpoint | None:
        """What makes rows of pictures, whose `config` is config.json, whole; None in a model of text."""
        ...

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> RawTensor:
        """Read one tensor. When `shape` is given, it must be the stored one.

        Raises:
            CheckpointError: no such tensor, another shape, a data type that cannot be read, or a file that was changed since it was
                opened. Names file and tensor.
        """
        ...


def num_bytes(format_name: str, shape: tuple[int, ...]) -> int:
    """Size of a tensor, bytes. Raises ValueError when a row is not a whole number of blocks."""
    block_values, block_bytes = BLOCK_FORMATS[format_name]
    row = shape[-1] if shape else 1
    if row % block_values:
        raise ValueError(f"rows of {row} values are not a whole number of {format_name} blocks of {block_values}")
    return prod(shape) // block_values * block_bytes


def check_shape(path: Path, name: str, found: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    """Raise CheckpointError when a stored shape is not the expected one. `expected` None allows any."""
    if expected is not None and tuple(expected) != found:
        raise CheckpointError(
            f"{path}: tensor {name} has shape {list(found)}, but the model's configuration asks for {list(expected)}; "
            "the weights and the configuration belong to different models"
        )
