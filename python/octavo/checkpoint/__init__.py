"""Model files read into one shape: Hugging Face names, config and conventions, raw bytes of named formats."""

from __future__ import annotations

from pathlib import Path

from octavo.checkpoint.raw_tensor import Checkpoint, RawTensor
from octavo.errors import CheckpointError

__all__ = ["Checkpoint", "RawTensor", "open_checkpoint"]


def open_checkpoint(path: str | Path, load_format: str = "auto") -> Checkpoint:
    """Open a model folder or a .gguf file.

    Args:
        load_format: `auto`, or `dummy` to make weights up; `path` is then a config.json or its folder.

    Raises:
        CheckpointError: nothing there, an unknown format, or a damaged file.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise CheckpointError(f"no model at {path}: no such file or folder; give a Hugging Face model folder or a .gguf file")
    if load_format == "dummy":
        from octavo.checkpoint.dummy import DummyCheckpoint

        return DummyCheckpoint(path)
    if path.is_dir():
        from octavo.checkpoint.hf_folder import HfFolder

        return HfFolder(path)
    if path.suffix == ".gguf" or _starts_like_gguf(path):
        from octavo.checkpoint.gguf import GgufFile

        return GgufFile(path)
    raise CheckpointError(f"{path} is not a model that can be read: give a Hugging Face model folder or a .gguf file")


def _starts_like_gguf(path: Path) -> bool:
    """Blobs in download caches have no suffix."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
