"""The keys that nearly every decoder's config.json has, read into a `ModelConfig`; families pass what they do otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.model_config import ModelConfig, MoeConfig
from octavo.checkpoint.rope_config import rope_config

__all__ = ["decoder_config", "moe_config"]

_KINDS = ("full_attention", "sliding_attention")
_MAX_LAYERS = 4096
_MAX_HEADS = 8192


def decoder_config(
    keys: ConfigKeys,
    *,
    slides: Callable[[int], bool] | None = None,
    rotates: Callable[[int], bool] = lambda layer: True,
    rotates_full: bool = True,
    partial_rotary: bool = False,
    local_theta: float | None = None,
    eps_key: str = "rms_norm_eps",
    activation_key: str = "hidden_act",
    **family: Any,
) -> ModelConfig:
    """Read a config.json.

    Args:
        slides: whether a layer has a sliding window where `layer_types` does not say; None in families without windows.
        rotates, rotates_full: whether a layer, and whether one that attends to everything, rotates its queries and keys.
        partial_rotary: whether `partial_rotary_factor` is the family's to have.
        local_theta: see `rope_config`.
        eps_key, activation_key: names of these keys.
        family: fields of `ModelConfig` that the family sets itself.

    Raises:
        CheckpointError: a key that is missing, of another type or range, or that contradicts another.
    """
    num_layers = keys.count("num_hidden_layers", most=_MAX_LAYERS)
    hidden_size, num_heads = keys.count("hidden_size"), keys.count("num_attention_heads", most=_MAX_HEADS)
    num_kv_heads = keys.optional_count("num_key_value_heads", most=_MAX_HEADS) or num_heads
    if num_heads % num_kv_heads:
        raise keys.refused("num_key_value_heads", f"num_attention_heads, {num_heads}, must be a multiple of it")
    head_dim = _head_dim(keys, hidden_size, num_heads)
    kinds = _layer_kinds(keys, num_layers, slides)
    window = _window(keys) if slides else None
    ropes = {kind: rope_config(keys, kind, head_dim, partial=partial_rotary, local_theta=local_theta) for kind in dict.fromkeys(kinds)}
    fields: dict[str, Any] = {
        "model_type": keys.text("model_type"),
        "vocab_size": keys.count("vocab_size"),
        "hidden_size": hidden_size,
        "intermediate_size": family.pop("intermediate_size", None) or keys.count("intermediate_size"),
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": keys.count("max_position_embeddings"),
        "norm_eps": keys.number(eps_key, most=1.0),
        "tie_word_embeddings": keys.flag("tie_word_embeddings"),
        "attention_scale": float(head_dim) ** -0.5,
        "windows": tuple(window if kind == "sliding_attention" else None for kind in kinds),
        "ropes": tuple(
            ropes[kind] if rotates(layer) and (rotates_full or kind != "full_attention") else None for layer, kind in enumerate(kinds)
        ),
        "activation": keys.text(activation_key),
    }
    return ModelConfig(**fields | family)


def moe_config(
    keys: ConfigKeys, *, renormalise: bool, shared_expert_size: int | None = None, size_key: str = "intermediate_size"
) -> MoeConfig:
    """Read the keys of mixtures of experts. `size_key` names an expert's feed-forward size."""
    num_layers = keys.count("num_hidden_layers", most=_MAX_LAYERS)
    num_experts = keys.count("num_local_experts" if "num_local_experts" in keys else "num_experts", most=_MAX_HEADS)
    top_k = keys.count("num_experts_per_tok", most=_MAX_HEADS)
    if top_k > num_experts:
        raise keys.refused("num_experts_per_tok", f"there are only {num_experts} experts")
    step, dense = keys.count("decoder_sparse_step", 1), keys.counts("mlp_only_layers", [])
    return MoeConfig(
        num_experts=num_experts,
        top_k=top_k,
        expert_size=keys.count(size_key),
        renormalise=renormalise,
        shared_expert_size=shared_expert_size,
        sparse_layers=tuple(layer not in dense and (layer + 1) % step == 0 for layer in range(num_layers)),
    )


def _head_dim(keys: ConfigKeys, hidden_size: int, num_heads: int) -> int:
    given = keys.optional_count("head_dim", None, most=4096)
    if given is None and hidden_size % num_heads:
        raise keys.refused("num_attention_heads", f"hidden_size, {hidden_size}, must be a multiple of it where head_dim is not given")
    head_dim = given or hidden_size // num_heads
    if head_dim % 2:
        raise keys.refused("head_dim" if given else "num_attention_heads", f"heads of {head_dim} cannot be rotated by halves")
    return head_dim


def _window(keys: ConfigKeys) -> int | None:
    if keys.flag("use_sliding_window", True):
        return keys.optional_count("sliding_window")
    keys.value("sliding_window", None)  # any number stands there
    return None


def _layer_kinds(keys: ConfigKeys, num_layers: int, slides: Callable[[int], bool] | None) -> list[str]:
    """full_attention or sliding_attention per layer."""
    if slides is None or "layer_types" not in keys:
        return [_KINDS[slides is not None and slides(layer)] for layer in range(num_layers)]
    kinds = keys.texts("layer_types")
    if len(kinds) != num_layers or not set(kinds) <= set(_KINDS):
        raise keys.refused("layer_types", f"{num_layers} of {' and '.join(_KINDS)} are needed")
    return kinds
