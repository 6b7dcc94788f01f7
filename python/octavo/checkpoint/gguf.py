"""GGUF files (llama.cpp) under Hugging Face names and conventions.

llama.cpp's converter changes tensors of some families (`GgufFamily`); this reader changes them back:
- the rows of q_proj and k_proj are permuted within each head, from halves to interleaved pairs (`row_order.py`);
- norm weights have 1 added.

A model may be split into files `<name>-00001-of-00003.gguf` (`llama-gguf-split`): the first has the metadata, each a directory of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
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
_SHARD = re.compile(r"(.*-)(\d{5})(-of-\d{5}\.gguf)")
_MAX_SHARDS = 99999


def _parts(family: GgufFamily, entry: GgufTensor) -> Iterator[tuple[str, GgufTensor]]:
    """The tensors of a directory entry by Hugging Face name: the experts of a stack, otherwise the one."""
    name = family.name(entry.name)
    squeezed = name.endswith(".shared_expert_gate.weight") and len(entry.shape) == 1  # the converter drops dimensions of 1
    for part in tensor_parts(name, (1, *entry.shape) if squeezed else entry.shape):
        begin, size = part.bytes_in(entry.format)
        yield part.name, GgufTensor(entry.name, part.shape, entry.format, entry.start + begin, size, entry.shard)


class GgufFile:
    """One .gguf file, or the shards of one; a `Checkpoint`.

    Attributes:
        path: of the file, or of the first shard.
        metadata: the file's metadata, for tokenizer and chat template; string arrays are lists, numeric ones numpy arrays.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file and read its header; of a shard, all of them.

        Raises:
            CheckpointError: missing, truncated or malformed file, a shard without the others, or an unknown architecture.
        """
        self.path = Path(path)
        self._files = [ModelFile(self.path)]
        self.metadata, directory = read_header(self.path, self._files[0])
        if self._num_shards(self.path, self.metadata) > 1:
            directory = self._read_shards()
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
        return self._files[entry.shard].read(entry.start, entry.size)

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

    def _num_shards(self, path: Path, metadata: dict[str, Any]) -> int:
        return MetadataKeys(path, metadata).count("split.count", 0, least=0, most=_MAX_SHARDS)

    def _read_shards(self) -> list[GgufTensor]:
        """Open every shard beside the one that was given, and return what their directories list."""
        count, name = self._num_shards(self.path, self.metadata), _SHARD.fullmatch(self.path.name)
        if name is None or not name[3].endswith(f"-of-{count:05}.gguf"):
            raise CheckpointError(
                f"{self.path} is one of {count} shards, which is not what its name says; name them as they came, "
                f"<name>-00001-of-{count:05}.gguf and so on"
            )
        paths = [self.path.with_name(f"{name[1]}{number:05}{name[3]}") for number in range(1, count + 1)]
        absent = [path.name for path in paths if not path.is_file()]
        if absent:
            raise CheckpointError(
                f"{self.path} is one of {count} shards, of which are missing: {', '.join(absent[:5])}; put them beside it"
            )
        self._files, directory = [ModelFile(path) for path in paths], []
        for shard, (path, file) in enumerate(zip(paths, self._files, strict=True)):
            metadata, entries = read_header(path, file)
            keys = MetadataKeys(path, metadata)
            if (keys.count("split.no", least=0), self._num_shards(path, metadata)) != (shard, count):
                raise CheckpointError(f"{path} is not shard {shard + 1} of {count}, as its name says; download it again")
            self.metadata = self.metadata if shard else metadata
            directory += [replace(entry, shard=shard) for entry in entries]
        self.path = paths[0]
        wanted = MetadataKeys(self.path, self.metadata).count("split.tensors.count", len(directory), least=0)
        if len({entry.name for entry in directory}) != wanted or len(directory) != wanted:
            raise CheckpointError(f"{self.path}: its shards hold {len(directory)} tensors, not {wanted}; they are not of one model")
        return directory
