"""A model that has no file here, as transformers' own classes describe it: what the scheduler and the memory plan need of its config."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from octavo.checkpoint import Checkpoint
from octavo.checkpoint.config_keys import ConfigKeys, one_line
from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import CheckpointError, ConfigError

__all__ = ["transformers_config"]

INSTALL = "pip install octavo[hf]"


def transformers_config(source: str, checkpoint: Checkpoint, task: str) -> ModelConfig:
    """Read config.json by transformers' class of its model_type. Layers are not described: transformers builds them.

    Args:
        source: what messages begin with.
        task: as in `EngineConfig.task`; text is made through transformers, vectors are not.

    Raises:
        ConfigError: torch or transformers is not installed.
        CheckpointError: a model_type that transformers does not know, or that is no decoder.
    """
    model_type = ConfigKeys(source, checkpoint.config).name("model_type")
    if find_spec("transformers") is None or find_spec("torch") is None:
        raise ConfigError(f"{source}: a {model_type} model runs through transformers and torch, which are not installed; {INSTALL}")
    if not checkpoint.path.is_dir() and checkpoint.path.suffix != ".json":
        raise CheckpointError(f"{source}: through transformers a Hugging Face model folder is read, no GGUF file")
    if task not in ("auto", "generate"):
        raise CheckpointError(f"{source}: --task {task}: through transformers models make text only")
    whole = _read(source, checkpoint, model_type)
    config = whole.get_text_config(decoder=True)
    keys = ConfigKeys(source, {name: getattr(config, name, None) for name in _KEYS})
    num_heads, hidden_size = keys.count("num_attention_heads"), keys.count("hidden_size")
    num_kv_heads = keys.optional_count("num_key_value_heads") or num_heads
    return ModelConfig(
        model_type=model_type,
        vocab_size=keys.count("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=keys.optional_count("intermediate_size") or 4 * hidden_size,
        num_layers=keys.count("num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=keys.optional_count("head_dim") or hidden_size // num_heads,
        max_position_embeddings=keys.count("max_position_embeddings"),
        norm_eps=0.0,
        tie_word_embeddings=bool(getattr(config, "tie_word_embeddings", False)),
        attention_scale=1.0,
        windows=(),
        ropes=(),
        through_transformers=True,
    )


_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
)


def _read(source: str, checkpoint: Checkpoint, model_type: str) -> Any:
    import transformers
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    if model_type not in transformers.CONFIG_MAPPING:
        raise CheckpointError(
            f"{source}: model_type {model_type!r} has no file here, and transformers {transformers.__version__} does not know it either; "
            "classes that a checkpoint brings are not run"
        )
    try:
        config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise CheckpointError(f"{source}: transformers cannot read it: {one_line(error)}") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise CheckpointError(f"{source}: transformers has no decoder for model_type {model_type!r}, so it cannot be run through it")
    return config
