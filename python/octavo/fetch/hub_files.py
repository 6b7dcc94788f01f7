"""Which files of a repository a model is made of."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from octavo.errors import CheckpointError
from octavo.fetch.hub_name import HubName

__all__ = ["folder_files", "gguf_files", "is_safetensors_repo", "weight_names"]

_SMALL = re.compile(r"[\w.-]+\.(?:json|jinja|model|tiktoken)|(?:vocab|merges)\.txt|additional_chat_templates/[\w.-]+\.jinja")
_WEIGHTS = re.compile(r"model(?:-\d+-of-\d+)?\.safetensors")
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_PREFERRED = ("Q4_K_M", "Q8_0")  # of several GGUF files when none is asked for


def is_safetensors_repo(files: Iterable[str]) -> bool:
    """Whether there are safetensors under the names that transformers writes."""
    return any(_WEIGHTS.fullmatch(file) for file in files)


def folder_files(files: Collection[str]) -> list[str]:
    """Names of a safetensors model's files, the weights last."""
    small = sorted(file for file in files if _SMALL.fullmatch(file))
    if "config.json" not in small:
        raise CheckpointError("the repository has no config.json; it is not a model that transformers could read")
    return small + sorted(file for file in files if _WEIGHTS.fullmatch(file))


def weight_names(index: Mapping[str, Any]) -> set[str]:
    """Names of the files that a model.safetensors.index.json speaks of."""
    return set(index["weight_map"].values())


def gguf_files(name: HubName, files: Collection[str]) -> list[str]:
    """Names of the GGUF file that is asked for, all of its parts in order; none where the repository has no GGUF file.

    Raises:
        CheckpointError: it has none of that name, or several and none is asked for; the text lists them.
    """
    wholes = sorted(file for file in files if file.endswith(".gguf") and "mmproj" not in file and not _is_later_part(file))
    if not wholes and name.file is None:
        return []
    wanted = name.file
    if wanted is None:
        chosen = wholes if len(wholes) == 1 else next((found for tag in _PREFERRED if (found := _of_quantisation(wholes, tag))), [])
    elif wanted.endswith(".gguf"):
        chosen = [file for file in wholes if file == wanted]
    else:
        chosen = _of_quantisation(wholes, wanted)
    if len(chosen) != 1:
        asked = f"no single file {wanted!r}" if wanted else "several GGUF files"
        raise CheckpointError(f"{name.repo} has {asked}; name one of: {', '.join(f'{name.repo}:{file}' for file in wholes[:20]) or 'none'}")
    return _parts(chosen[0], files)


def _of_quantisation(files: Iterable[str], tag: str) -> list[str]:
    """Files whose name has the quantisation as a word: `...-Q4_K_M.gguf`, `...Q4_K_M-00001-of-00002.gguf`, `Q4_K_M/...`."""
    pattern = re.compile(rf"(?:^|[-./]){re.escape(tag)}(?:[-./]|$)", re.IGNORECASE)
    return [file for file in files if pattern.search(file)]


def _is_later_part(file: str) -> bool:
    part = _PART.search(file)
    return part is not None and int(part[1]) != 1


def _parts(file: str, files: Collection[str]) -> list[str]:
    part = _PART.search(file)
    if part is None:
        return [file]
    names = [f"{file[: part.start()]}-{number:05}-of-{part[2]}.gguf" for number in range(1, int(part[2]) + 1)]
    missing = sorted(set(names) - set(files))
    if missing:
        raise CheckpointError(f"{missing[0]}, a part of {file}, is missing")
    return names
