"""The keys that nearly every encoder's config.json has, read into a `ModelConfig`; families pass what they do otherwise."""

from __future__ import annotations

from typing import Any

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.model_config import ModelConfig

__all__ = ["encoder_config"]

_MAX_LAYERS = 4096
_MAX_HEADS = 8192
_HEAD_DIM_STEP = 8  # what attention kernels read at once
_MAX_HEAD_DIM = 256


def encoder_config(keys: ConfigKeys, *, position_offset: int = 0, **family: Any) -> ModelConfig:
    """Read a config.json.

    Args:
        position_offset: rows of the positions' table before that of the first position.
        family: fields of `ModelConfig` that the family sets itself.

    Raises:
        CheckpointError: a key that is missing, of another type or range, or that contradicts another.
    """
    num_layers = keys.count("num_hidden_layers", most=_MAX_LAYERS)
    hidden_size, num_heads = keys.count("hidden_size"), keys.count("num_attention_heads", most=_MAX_HEADS)
    head_dim = hidden_size // num_heads
    if hidden_size % num_heads or head_dim % _HEAD_DIM_STEP or head_dim > _MAX_HEAD_DIM:
        raise keys.refused("num_attention_heads", f"hidden_size, {hidden_size}, must be 8, 16, ... 256 times as many")
    if keys.text("position_embedding_type", "absolute") != "absolute" and "ropes" not in family:
        raise keys.refused("position_embedding_type", "absolute is supported")
    num_positions = keys.count("max_position_embeddings")
    if num_positions <= position_offset:
        raise keys.refused("max_position_embeddings", f"more than {position_offset} is needed")
    fields: dict[str, Any] = {
        "model_type": keys.text("model_type"),
        "vocab_size": keys.count("vocab_size"),
        "hidden_size": hidden_size,
        "intermediate_size": family.pop("intermediate_size", None) or keys.count("intermediate_size"),
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": num_heads,
        "head_dim": head_dim,
        "max_position_embeddings": num_positions - position_offset,
        "norm_eps": family.pop("norm_eps", None) or keys.number("layer_norm_eps", most=1.0),
        "tie_word_embeddings": True,
        "attention_scale": float(head_dim) ** -0.5,
        "windows": (None,) * num_layers,
        "ropes": (None,) * num_layers,
        "activation": family.pop("activation", None) or keys.text("hidden_act"),
        "norm": "layer",
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "causal": False,
        "position_offset": position_offset,
    }
    return ModelConfig(**fields | family)
