"""Model families, one file each: the file name is the checkpoint's `model_type`, and the file's `Model` is the class to build.

A family's file says everything about it: how its config.json is read, how its tensors are named in folders (`STORED_NAMES`) and in GGUF
files (`GGUF`), and how its layers are wired. `octavo models` and docs/models.md list them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from octavo.checkpoint import Checkpoint
from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.family_files import family_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import CheckpointError
from octavo.models._decoder import Decoder
from octavo.plugins import available, load

__all__ = ["Family", "families", "model_class", "model_config"]


@dataclass(frozen=True, slots=True)
class Family:
    """What a family's file says about itself.

    Attributes:
        model_type: name of the file, and `model_type` in config.json.
        title: the models, and what is particular about them: the first line of the file.
        gguf: architecture of its GGUF files; None where they are not read, or are those of another family.
        reference: what tests compare its logits with: transformers' class of the model_type, or what `REFERENCE` says stands in for it.
    """

    model_type: str
    title: str
    gguf: str | None
    reference: str


def families() -> list[Family]:
    """Every family there is, by model_type."""
    found = []
    for model_type in available("octavo.models"):
        module = load("octavo.models", model_type)
        title = (module.__doc__ or "").partition("\n")[0]
        gguf = getattr(module, "GGUF", None)
        found.append(Family(model_type, title, gguf and gguf.architecture, getattr(module, "REFERENCE", "transformers")))
    return found


def model_class(model_type: str) -> type[Decoder]:
    """Return the class that serves `model_type`. Raises `CheckpointError` listing the known ones."""
    try:
        return load("octavo.models", model_type).Model
    except LookupError:
        known = ", ".join(available("octavo.models"))
        raise CheckpointError(f"model_type {model_type!r} is not supported; supported: {known}") from None


def model_config(checkpoint: Checkpoint) -> ModelConfig:
    """Read a checkpoint's configuration as its family understands it.

    Raises:
        CheckpointError: an unknown model_type; a key that is missing or makes no sense; a key that changes what the model computes
            and that its family does not know.
    """
    source = str(checkpoint.path / "config.json" if checkpoint.path.is_dir() else checkpoint.path)
    model_class(ConfigKeys(source, checkpoint.config).name("model_type"))
    return family_config(source, checkpoint.config)
