"""Model families, one file each: the file name is the checkpoint's `model_type`, and the file's `Model` is the class to build.

A family's file says everything about it: how its config.json is read, how its tensors are named in folders (`STORED_NAMES`) and in GGUF
files (`GGUF`), and how its layers are wired. `octavo models` and docs/models.md list them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from octavo.checkpoint import Checkpoint
from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.family_files import family_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.checkpoint.pooling_config import read_pooling, task_of
from octavo.errors import CheckpointError
from octavo.models._decoder import Decoder
from octavo.models._encoder import Encoder
from octavo.models._transformers import transformers_config
from octavo.plugins import available, load

__all__ = ["Family", "families", "model_class", "model_config"]


@dataclass(frozen=True, slots=True)
class Family:
    """What a family's file says about itself.

    Attributes:
        model_type: name of the file, and `model_type` in config.json.
        title: the models, and what is particular about them: the first line of the file.
        gguf: architecture of its GGUF files; None where they are not read, or are those of another family.
        makes: what the model makes: text or vectors; of speech models text of speech.
        reference: what tests compare its logits with: transformers' class of the model_type, or what `REFERENCE` says stands in for it.
    """

    model_type: str
    title: str
    gguf: str | None
    reference: str
    makes: str = "text, vectors"


def families() -> list[Family]:
    """Every family there is, by model_type."""
    found = []
    for model_type in available("octavo.models"):
        module = load("octavo.models", model_type)
        title = (module.__doc__ or "").partition("\n")[0]
        gguf = getattr(module, "GGUF", None)
        found.append(
            Family(model_type, title, gguf and gguf.architecture, getattr(module, "REFERENCE", "transformers"), module.Model.makes)
        )
    return found


def model_class(model_type: str) -> type[Decoder | Encoder]:
    """Return the class that serves `model_type`. Raises `CheckpointError` listing the known ones."""
    try:
        return load("octavo.models", model_type).Model
    except LookupError:
        known = ", ".join(available("octavo.models"))
        raise CheckpointError(f"model_type {model_type!r} is not supported; supported: {known}") from None


def _is_native(model_type: str) -> bool:
    try:
        load("octavo.models", model_type)
    except LookupError:
        return False
    return True


def model_config(checkpoint: Checkpoint, task: str = "auto", pooling_kind: str = "auto", impl: str = "native") -> ModelConfig:
    """Read a checkpoint's configuration as its family understands it.

    Args:
        impl: `native`: the family's file here; `transformers`: as transformers' classes have it; auto: the second where there is no file.
        task: what the model is to do, one of `pooling_config.TASKS`; auto: what its files say.
        pooling_kind: which hidden states become a text's vector, one of `pooling_config.POOLING_KINDS`; auto: what its files say.

    Raises:
        CheckpointError: an unknown model_type; a key that is missing or makes no sense; a key that changes what the model computes
            and that its family does not know.
    """
    source = str(checkpoint.path / "config.json" if checkpoint.path.is_dir() else checkpoint.path)
    model_type = ConfigKeys(source, checkpoint.config).name("model_type")
    if impl == "transformers" or (impl == "auto" and not _is_native(model_type)):
        return transformers_config(source, checkpoint, task)
    model_class(model_type)
    config = family_config(source, checkpoint.config)
    is_encoder = not config.causal
    folder = checkpoint.path if checkpoint.path.is_dir() else None
    if config.source_positions:
        if task not in ("auto", "generate"):
            raise CheckpointError(f"{source}: a {config.model_type} model makes text of speech and nothing else; leave --task out")
        return config
    if task == "auto":
        task = task_of(checkpoint.config, folder, is_encoder=is_encoder)
    if task == "generate":
        if is_encoder:
            raise CheckpointError(
                f"{source}: this {config.model_type} model is an encoder, which makes vectors, not text; leave --task out"
            )
        return config
    pooling = read_pooling(source, checkpoint.config, folder, task, hidden_size=config.hidden_size, is_encoder=is_encoder)
    if pooling_kind != "auto":
        pooling = replace(pooling, kind=pooling_kind)
    return replace(config, pooling=pooling)
