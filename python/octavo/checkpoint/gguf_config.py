"""config.json and generation_config.json, as Hugging Face would write them, from a GGUF file's metadata.

Keys follow llama.cpp's `gguf-py/gguf/constants.py`; the defaults for absent keys are those of llama.cpp's loader. What only one family
has stands in that family's file (`GgufFamily.config`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octavo.checkpoint.config_keys import MetadataKeys
from octavo.checkpoint.family_files import GgufFamily
from octavo.errors import CheckpointError

__all__ = ["derive_config", "derive_generation_config", "window_pattern"]

_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")
_MAX_LAYERS = 4096
# Keys that change what a model computes, and the value with which they do not; zero counts as left out.
_NEUTRAL: dict[str, float] = {
    "attention.clamp_kqv": 0,
    "attention.kv_lora_rank": 0,
    "attention.max_alibi_bias": 0,
    "attention.scale": 0,
    "attn_logit_softcapping": 0,
    "embedding_scale": 1,
    "expert_group_count": 1,
    "expert_weights_scale": 1,
    "final_logit_softcapping": 0,
    "leading_dense_block_count": 0,
    "logit_scale": 1,
    "residual_scale": 1,
}


def derive_config(
    path: Path, metadata: Mapping[str, Any], family: GgufFamily, shapes: Mapping[str, tuple[int, ...]], rope_factors: list[float] | None
) -> dict[str, Any]:
    """Return the config of the model in a GGUF file.

    Args:
        shapes: shape of each tensor by Hugging Face name.
        rope_factors: [head_dim / 2] divisors of the rotary frequencies (Llama 3.1's scaling, computed at conversion), or None.

    Raises:
        CheckpointError: a key that is missing or makes no sense, or one that the family cannot have.
    """
    keys = MetadataKeys(path, metadata, f"{family.architecture}.")
    config = _shape_config(path, keys, shapes) | _rope_config(keys, rope_factors)
    config["model_type"] = family.model_type
    if keys.count("expert_count", 0, least=0):
        config |= _moe_config(keys, family)
    config |= family.config(keys, config)
    _check_unread(keys, config["head_dim"])
    return config


def _check_unread(keys: MetadataKeys, head_dim: int) -> None:
    """Refuse what changes the answer and is not understood."""
    if keys.count("rope.dimension_count", head_dim) != head_dim:
        raise keys.refused("rope.dimension_count", f"models of this architecture rotate whole heads, of {head_dim} here")
    for key, neutral in _NEUTRAL.items():
        if key in keys and not keys.was_asked(key) and keys.value(key) not in (0, neutral):
            raise keys.refused(key, "this setting changes what the model computes, and is not supported for its architecture")


def window_pattern(keys: MetadataKeys, num_layers: int, *, every: int) -> list[str]:
    """`layer_types`: each `every`-th layer attends to everything unless the file says another number, or has a flag per layer."""
    flags = keys.per_layer("attention.sliding_window_pattern")
    if flags is None:
        every = keys.count("attention.sliding_window_pattern", every)
        flags = [(layer + 1) % every != 0 for layer in range(num_layers)]
    return ["sliding_attention" if flag else "full_attention" for flag in flags]


def _shape_config(path: Path, keys: MetadataKeys, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    hidden_size, num_heads = keys.count("embedding_length"), keys.count("attention.head_count")
    embedding = shapes.get("model.embed_tokens.weight")
    if embedding is None:
        raise CheckpointError(f"{path}: tensor token_embd.weight is missing; the file holds no whole model")
    eps = "attention.layer_norm_epsilon" if "attention.layer_norm_epsilon" in keys else "attention.layer_norm_rms_epsilon"
    return {
        "hidden_size": hidden_size,
        "intermediate_size": keys.count("feed_forward_length"),
        "num_hidden_layers": keys.count("block_count", most=_MAX_LAYERS),
        "num_attention_heads": num_heads,
        "num_key_value_heads": keys.count("attention.head_count_kv", num_heads),
        "head_dim": keys.count("attention.key_length", max(hidden_size // num_heads, 1)),
        "rms_norm_eps": keys.number(eps, most=1.0),
        "vocab_size": embedding[0],
        "max_position_embeddings": keys.count("context_length"),
        "tie_word_embeddings": "lm_head.weight" not in shapes,
        "attention_bias": "model.layers.0.self_attn.q_proj.bias" in shapes,
        "mlp_bias": "model.layers.0.mlp.gate_proj.bias" in shapes,
    }


def _rope_config(keys: MetadataKeys, rope_factors: list[float] | None) -> dict[str, Any]:
    theta = keys.positive("rope.freq_base", 10000.0)
    config: dict[str, Any] = {"rope_theta": theta, "rope_scaling": _rope_scaling(keys)}
    if rope_factors is not None:
        config["rope_parameters"] = {"rope_type": "llama3_factors", "rope_theta": theta, "factors": rope_factors}
    return config


def _rope_scaling(keys: MetadataKeys) -> dict[str, Any] | None:
    kind = keys.text("rope.scaling.type", "linear" if "rope.scale_linear" in keys else "none")
    if kind == "none":
        return None
    if kind == "linear":
        old = "rope.scale_linear" in keys and "rope.scaling.factor" not in keys
        return {"rope_type": "linear", "factor": keys.positive("rope.scale_linear" if old else "rope.scaling.factor")}
    if kind != "yarn":
        raise keys.refused("rope.scaling.type", "known are none, linear and yarn")
    optional = {"attention_factor": "attn_factor", "beta_fast": "yarn_beta_fast", "beta_slow": "yarn_beta_slow"}
    return {
        "rope_type": "yarn",
        "factor": keys.positive("rope.scaling.factor"),
        "original_max_position_embeddings": keys.count("rope.scaling.original_context_length"),
    } | {name: keys.positive(f"rope.scaling.{key}") for name, key in optional.items() if f"rope.scaling.{key}" in keys}


def _moe_config(keys: MetadataKeys, family: GgufFamily) -> dict[str, Any]:
    if family.renormalise is None:
        raise keys.refused("expert_count", f"models of the architecture {family.architecture} cannot have experts here")
    sizes = {
        "moe_intermediate_size": "expert_feed_forward_length",
        "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
    }
    return {
        "num_experts": keys.count("expert_count"),
        "num_experts_per_tok": keys.count("expert_used_count"),
        "norm_topk_prob": family.renormalise,
    } | {name: keys.count(key) for name, key in sizes.items() if keys.count(key, 0, least=0)}


def derive_generation_config(path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return `bos_token_id`, `pad_token_id` and the list `eos_token_id`, those that the metadata give.

    A chat model ends its turn with a token that some files name (`eot`, `eom`) and older ones only write in their chat template.
    """
    keys = MetadataKeys(path, metadata, "tokenizer.")
    ids = {name: keys.optional_count(f"ggml.{name}_token_id", least=0) for name in ("bos", "padding", "eos", "eot", "eom")}
    config: dict[str, Any] = {"bos_token_id": ids["bos"], "pad_token_id": ids["padding"]}
    tokens, template = keys.texts("ggml.tokens", []), keys.text("chat_template", "")
    ends = [ids["eos"], ids["eot"], ids["eom"], *(tokens.index(text) for text in _END_OF_TURN if text in template and text in tokens)]
    config["eos_token_id"] = sorted({end for end in ends if end is not None}) or None
    return {name: value for name, value in config.items() if value is not None}
