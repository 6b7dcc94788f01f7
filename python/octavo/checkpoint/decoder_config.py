"""The keys that nearly every decoder's config.json has, read into a `ModelConfig`; families pass what they do otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.model_config import ModelConfig, MoeConfig, Routing
from octavo.checkpoint.rope_config import rope_config

__all__ = ["LLAMA_DEFAULTS", "decoder_config", "grouped_routing", "layer_kinds", "moe_config", "rotating_layers"]

LLAMA_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
}
"""What keys mean that config.json leaves out, in transformers' configuration of Llama and in those that began as its copy."""

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
    local_kind: str = "sliding_attention",
    window_key: str = "sliding_window",
    head_dim: int | None = None,
    sections: tuple[int, int, int] | None = None,
    by_turns: bool = False,
    default_theta: float = 10000.0,
    eps_key: str = "rms_norm_eps",
    activation_key: str = "hidden_act",
    **family: Any,
) -> ModelConfig:
    """Read a config.json.

    Args:
        slides: whether a layer has a sliding window where `layer_types` does not say; None in families without windows.
        rotates, rotates_full: whether a layer, and whether one that attends to everything, rotates its queries and keys.
        partial_rotary: whether `partial_rotary_factor` is the family's to have.
        local_theta, sections, by_turns, default_theta: see `rope_config`.
        local_kind: what `layer_types` calls layers with a window.
        head_dim: where the family's own keys say it.
        window_key, eps_key, activation_key: names of these keys.
        family: fields of `ModelConfig` that the family sets itself.

    Raises:
        CheckpointError: a key that is missing, of another type or range, or that contradicts another.
    """
    num_layers = keys.count("num_hidden_layers", most=_MAX_LAYERS)
    hidden_size, num_heads = keys.count("hidden_size"), keys.count("num_attention_heads", most=_MAX_HEADS)
    num_kv_heads = keys.optional_count("num_key_value_heads", most=_MAX_HEADS) or num_heads
    if num_heads % num_kv_heads:
        raise keys.refused("num_key_value_heads", f"num_attention_heads, {num_heads}, must be a multiple of it")
    head_dim = head_dim or _head_dim(keys, hidden_size, num_heads)
    kinds = layer_kinds(keys, num_layers, slides, local_kind)
    window = _window(keys, window_key) if slides else None
    rope_settings: dict[str, Any] = {"partial": partial_rotary, "local_theta": local_theta, "default_theta": default_theta}
    rope_settings |= {"sections": sections, "by_turns": by_turns}
    ropes = {kind: rope_config(keys, kind, head_dim, **rope_settings) for kind in dict.fromkeys(kinds)}
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
        "windows": tuple(window if kind == local_kind else None for kind in kinds),
        "ropes": tuple(
            ropes[kind] if rotates(layer) and (rotates_full or kind != "full_attention") else None for layer, kind in enumerate(kinds)
        ),
        "activation": keys.text(activation_key),
    }
    return ModelConfig(**fields | family)


def moe_config(
    keys: ConfigKeys,
    routing: Routing,
    *,
    shared_expert_size: int | None = None,
    size_key: str = "intermediate_size",
    sparse: Callable[[int], bool] = lambda layer: True,
    **family: Any,
) -> MoeConfig:
    """Read the keys of mixtures of experts.

    Args:
        size_key: names an expert's feed-forward size.
        sparse: whether a layer has experts, as far as the family's own keys say.
        family: fields of `MoeConfig` that the family sets itself.
    """
    num_layers = keys.count("num_hidden_layers", most=_MAX_LAYERS)
    num_experts = keys.count("num_local_experts" if "num_local_experts" in keys else "num_experts", most=_MAX_HEADS)
    top_k = keys.count("num_experts_per_tok", most=_MAX_HEADS)
    if top_k > num_experts:
        raise keys.refused("num_experts_per_tok", f"there are only {num_experts} experts")
    group_size, rest = divmod(num_experts, routing.num_groups)
    if (
        rest
        or not 1 <= routing.top_groups <= routing.num_groups
        or top_k > routing.top_groups * group_size
        or routing.group_best > group_size
    ):
        raise keys.refused("topk_group", f"{top_k} of {num_experts} experts cannot be taken from so many of {routing.num_groups} groups")
    step, dense = keys.count("decoder_sparse_step", 1), keys.counts("mlp_only_layers", [])
    return MoeConfig(
        num_experts=num_experts,
        top_k=top_k,
        expert_size=keys.count(size_key),
        routing=routing,
        shared_expert_size=shared_expert_size,
        sparse_layers=tuple(sparse(layer) and layer not in dense and (layer + 1) % step == 0 for layer in range(num_layers)),
        **family,
    )


def grouped_routing(keys: ConfigKeys) -> Routing:
    """The routing of DeepSeek-V3 and those after it: sigmoids with a correction bias, the best groups first, scaled weights."""
    return Routing(
        renormalise=keys.flag("norm_topk_prob"),
        scoring="sigmoid",
        num_groups=keys.count("n_group", most=_MAX_HEADS),
        top_groups=keys.count("topk_group", most=_MAX_HEADS),
        group_best=2,
        scale=keys.positive("routed_scaling_factor"),
        least_sum=1e-20,
    )


def rotating_layers(keys: ConfigKeys) -> list[bool]:
    """Whether each layer rotates its queries and keys, of `no_rope_layers` or `no_rope_layer_interval` (Yang et al. 2025, RNoPE)."""
    every, num_layers = keys.count("no_rope_layer_interval"), keys.count("num_hidden_layers", most=_MAX_LAYERS)
    rotates = [bool(flag) for flag in keys.counts("no_rope_layers", None)] or [(layer + 1) % every != 0 for layer in range(num_layers)]
    if len(rotates) != num_layers:
        raise keys.refused("no_rope_layers", f"a number for each of the {num_layers} layers is needed")
    return rotates


def _head_dim(keys: ConfigKeys, hidden_size: int, num_heads: int) -> int:
    given = keys.optional_count("head_dim", None, most=4096)
    if given is None and hidden_size % num_heads:
        raise keys.refused("num_attention_heads", f"hidden_size, {hidden_size}, must be a multiple of it where head_dim is not given")
    head_dim = given or hidden_size // num_heads
    if head_dim % 2:
        raise keys.refused("head_dim" if given else "num_attention_heads", f"heads of {head_dim} cannot be rotated by halves")
    return head_dim


def _window(keys: ConfigKeys, name: str) -> int | None:
    if keys.flag("use_sliding_window", True):
        return keys.optional_count(name)
    keys.value(name, None)  # any number stands there
    return None


def layer_kinds(keys: ConfigKeys, num_layers: int, slides: Callable[[int], bool] | None, local: str) -> list[str]:
    """full_attention or the local kind per layer."""
    known = ("full_attention", local)
    if slides is None or "layer_types" not in keys:
        return [known[slides is not None and slides(layer)] for layer in range(num_layers)]
    kinds = keys.texts("layer_types")
    if len(kinds) != num_layers or not set(kinds) <= set(known):
        raise keys.refused("layer_types", f"{num_layers} of {' and '.join(known)} are needed")
    return kinds
