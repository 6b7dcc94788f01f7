"""GGUF files (llama.cpp) under Hugging Face names and conventions.

llama.cpp's converter changes tensors of some families (`GgufFamily`); this reader changes them back:
- the rows of q_proj and k_proj are permuted within each head, from halves to interleaved pairs (`row_order.py`);
- norm weights have 1 added.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import MetadataKeys
from octavo.checkpoint.expert_names import tensor_parts
from octavo.checkpoint.family_files import GgufFamily, gguf_family
from octavo.checkpoint.gguf_config import derive_config, derive_generation_config
from octavo.checkpoint.gguf_header import GgufTensor, read_header
from octavo.checkpoint.model_file import ModelFile
from octavo.checkpoint.raw_tensor import RawTensor, check_shape
from octavo.checkpoint.row_order import rows_in_halves
from octavo.errors import CheckpointError

__all__ = ["GgufFile"]

_ROPE_FACTORS = "rope_freqs.weight"


def _parts(family: GgufFamily, entry: GgufTensor) -> Iterator[tuple[str, GgufTensor]]:
    """The tensors of a directory entry by Hugging Face name: the experts of a stack, otherwise the one."""
    name = family.name(entry.name)
    squeezed = name.endswith(".shared_expert_gate.weight") and len(entry.shape) == 1  # the converter drops dimensions of 1
    for part in tensor_parts(name, (1, *entry.shape) if squeezed else entry.shape):
        begin, size = part.bytes_in(entry.format)
        yield part.name, GgufTensor(entry.name, part.shape, entry.format, entry.start + begin, size)


class GgufFile:
    """One .gguf file; a `Checkpoint`.

    Attributes:
        metadata: the file's metadata, for tokenizer and chat template; string arrays are lists, numeric ones numpy arrays.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file and read its header.

        Raises:
            CheckpointError: missing, truncated or malformed file, one of several shards, or an unknown architecture.
        """
        self.path = Path(path)
        self._file = ModelFile(self.path)
        self.metadata, directory = read_header(self.path, self._file)
        self._refuse_shards()
        architecture = MetadataKeys(self.path, self.metadata).name("general.architecture")
        self._family = gguf_family(self.path, architecture)
        tensors = [entry for entry in directory if entry.name != _ROPE_FACTORS]
        self._tensors = {name: part for entry in tensors for name, part in _parts(self._family, entry)}
        factors = next((self._floats(entry).tolist() for entry in directory if entry.name == _ROPE_FACTORS), None)
        shapes = {name: entry.shape for name, entry in self._tensors.items()}
        self.config: dict[str, Any] = derive_config(self.path, self.metadata, self._family, shapes, factors)
        self.generation_config: dict[str, Any] = derive_generation_config(self.path, self.metadata)

    def names(self) -> set[str]:
        return set(self._tensors)

    def media_half(self) -> None:
        """None: there is no tower."""
        return

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> RawTensor:
        """Read a tensor; see `Checkpoint.tensor`."""
        entry = self._tensors.get(name)
        if entry is None:
            raise CheckpointError(f"{self.path}: tensor {name} is missing; the file is incomplete or of another architecture than it says")
        check_shape(self.path, name, entry.shape, shape)
        return RawTensor(name, entry.shape, entry.format, self._unconverted(name, entry))

    def _bytes(self, entry: GgufTensor) -> NDArray[np.uint8]:
        return self._file.read(entry.start, entry.size)

    def _unconverted(self, name: str, entry: GgufTensor) -> NDArray[np.uint8]:
        family = self._family
        if family.paired_rows and ".self_attn.q_proj." in name:
            return rows_in_halves(self._bytes(entry), entry.shape, self.config["num_attention_heads"], what=f"{self.path}: tensor {name}")
        if family.paired_rows and ".self_attn.k_proj." in name:
            return rows_in_halves(self._bytes(entry), entry.shape, self.config["num_key_value_heads"], what=f"{self.path}: tensor {name}")
        if family.norm_offset and name.endswith("norm.weight"):
            return (self._floats(entry) - np.float32(family.norm_offset)).view(np.uint8)
        return self._bytes(entry)

    def _floats(self, entry: GgufTensor) -> NDArray[np.float32]:
        if entry.format != "F32":
            raise CheckpointError(f"{self.path}: tensor {entry.name} is {entry.format}; it must be F32, convert the model again")
        return self._bytes(entry).view("<f4")

    def _refuse_shards(self) -> None:
        count = MetadataKeys(self.path, self.metadata).count("split.count", 0, least=0)
        if count > 1:
            raise CheckpointError(f"{self.path} is one of {count} shards; join them with llama.cpp's `llama-gguf-split --merge`")
