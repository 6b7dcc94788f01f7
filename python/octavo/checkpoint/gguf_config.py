"""config.json and generation_config.json, as Hugging Face would write them, from a GGUF file's metadata.

Keys follow llama.cpp's `gguf-py/gguf/constants.py`; the defaults for absent keys are those of llama.cpp's loader.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from octavo.errors import CheckpointError

__all__ = ["derive_config", "derive_generation_config"]

_MODEL_TYPES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2_moe",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe",
    "olmoe": "olmoe",
    "gemma3": "gemma3_text",
}
_CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "olmoe": "OlmoeForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
# Whether the weights of a token's experts add up to 1: a fact of the architecture in llama.cpp (`build_moe_ffn`), not of the file.
_EXPERTS_OF = {"llama": True, "qwen2moe": False, "qwen3moe": True, "olmoe": False}
_GEMMA3_LAYERS_27B = 62  # the one size whose attention scale is not 1/sqrt(head_dim)
_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


class _Keys:
    """The metadata of one architecture: `keys("block_count")` is `<architecture>.block_count`."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self._path = path
        self._metadata = metadata
        self.architecture = str(metadata.get("general.architecture"))

    def __call__(self, key: str) -> Any:
        """The value, or None. A per-layer array counts as its one value."""
        value = self._metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, np.ndarray):
            return self._uniform(key, value)
        # 32-bit floats become the shortest decimal that names them: 1e-05, not 9.999999747378752e-06
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def required(self, key: str) -> Any:
        value = self(key)
        if value is None:
            raise CheckpointError(f"{self._path}: metadata key {self.architecture}.{key} is missing; convert the model again")
        return value

    def raw(self, key: str) -> Any:
        return self._metadata.get(f"{self.architecture}.{key}")

    def refuse(self, key: str, why: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: metadata key {self.architecture}.{key} is {self(key)!r}: {why}")

    def _uniform(self, key: str, values: np.ndarray) -> Any:
        if np.unique(values).size != 1:
            raise CheckpointError(
                f"{self._path}: metadata key {self.architecture}.{key} differs between layers, which no supported model does"
            )
        return values[0].item()


def derive_config(
    path: Path, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], rope_factors: list[float] | None
) -> dict[str, Any]:
    """Return the config of the model in a GGUF file.

    Args:
        shapes: shape of each tensor by Hugging Face name.
        rope_factors: [head_dim / 2] divisors of the rotary frequencies (Llama 3.1's scaling, computed at conversion), or None.

    Raises:
        CheckpointError: an architecture that cannot be run, or a missing key.
    """
    keys = _Keys(path, metadata)
    if keys.architecture not in _MODEL_TYPES:
        known = ", ".join(_MODEL_TYPES)
        raise CheckpointError(f"{path}: general.architecture is {keys.architecture!r}, which cannot be run; supported: {known}")
    if keys("expert_count") and keys.architecture not in _EXPERTS_OF:
        raise keys.refuse("expert_count", f"of architectures with experts, {', '.join(_EXPERTS_OF)} can be run")
    config = _shape_config(path, keys, shapes) | _rope_config(keys, rope_factors)
    config |= _gemma3_config(keys, config) if keys.architecture == "gemma3" else _llama_like_config(keys)
    config["architectures"] = [_CLASSES[config["model_type"]]]
    return config


def _shape_config(path: Path, keys: _Keys, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    hidden_size, num_heads = keys.required("embedding_length"), keys.required("attention.head_count")
    embedding = shapes.get("model.embed_tokens.weight")
    if embedding is None:
        raise CheckpointError(f"{path}: tensor token_embd.weight is missing; the file holds no whole model")
    return {
        "hidden_size": hidden_size,
        "intermediate_size": keys.required("feed_forward_length"),
        "num_hidden_layers": keys.required("block_count"),
        "num_attention_heads": num_heads,
        "num_key_value_heads": keys("attention.head_count_kv") or num_heads,
        "head_dim": keys("attention.key_length") or hidden_size // num_heads,
        "rms_norm_eps": keys.required("attention.layer_norm_rms_epsilon"),
        "vocab_size": embedding[0],
        "max_position_embeddings": keys.required("context_length"),
        "tie_word_embeddings": "lm_head.weight" not in shapes,
        "attention_bias": "model.layers.0.self_attn.q_proj.bias" in shapes,
        "mlp_bias": "model.layers.0.mlp.gate_proj.bias" in shapes,
    }


def _rope_config(keys: _Keys, rope_factors: list[float] | None) -> dict[str, Any]:
    theta = keys("rope.freq_base") or 10000.0
    config: dict[str, Any] = {"rope_theta": theta, "rope_scaling": _rope_scaling(keys)}
    if rope_factors is not None:
        config["rope_parameters"] = {"rope_type": "llama3_factors", "rope_theta": theta, "factors": rope_factors}
    return config


def _rope_scaling(keys: _Keys) -> dict[str, Any] | None:
    kind = keys("rope.scaling.type") or ("linear" if keys("rope.scale_linear") else "none")
    if kind == "none":
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": keys("rope.scaling.factor") or keys.required("rope.scale_linear")}
    if kind != "yarn":
        raise keys.refuse("rope.scaling.type", "known are none, linear and yarn")
    optional = {
        "attention_factor": keys("rope.scaling.attn_factor"),
        "beta_fast": keys("rope.scaling.yarn_beta_fast"),
        "beta_slow": keys("rope.scaling.yarn_beta_slow"),
    }
    return {
        "rope_type": "yarn",
        "factor": keys.required("rope.scaling.factor"),
        "original_max_position_embeddings": keys.required("rope.scaling.original_context_length"),
    } | {name: value for name, value in optional.items() if value is not None}


def _llama_like_config(keys: _Keys) -> dict[str, Any]:
    config: dict[str, Any] = {"model_type": _MODEL_TYPES[keys.architecture], "hidden_act": "silu"}
    window = keys("attention.sliding_window")
    if window and keys.architecture == "llama":  # Mistral is stored under the name llama
        config |= {"model_type": "mistral", "sliding_window": window}
    return config | _moe_config(keys, config["model_type"]) if keys("expert_count") else config


def _moe_config(keys: _Keys, model_type: str) -> dict[str, Any]:
    sizes = {
        "moe_intermediate_size": keys("expert_feed_forward_length"),
        "shared_expert_intermediate_size": keys("expert_shared_feed_forward_length"),
    }
    return {
        "model_type": "mixtral" if keys.architecture == "llama" else model_type,
        "num_experts": keys("expert_count"),
        "num_experts_per_tok": keys.required("expert_used_count"),
        "norm_topk_prob": _EXPERTS_OF[keys.architecture],
    } | {key: value for key, value in sizes.items() if value}


def _gemma3_config(keys: _Keys, shape: dict[str, Any]) -> dict[str, Any]:
    is_27b = shape["num_hidden_layers"] == _GEMMA3_LAYERS_27B
    return {
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_local_base_freq": keys("rope.freq_base_swa") or 10000.0,
        "query_pre_attn_scalar": shape["hidden_size"] // shape["num_attention_heads"] if is_27b else shape["head_dim"],
        "sliding_window": keys.required("attention.sliding_window"),
        "layer_types": _layer_types(keys, shape["num_hidden_layers"]),
        "attn_logit_softcapping": keys("attn_logit_softcapping"),
        "final_logit_softcapping": keys("final_logit_softcapping"),
    }


def _layer_types(keys: _Keys, num_layers: int) -> list[str]:
    """Every n-th layer attends to everything (n is 6 in every Gemma 3), or a flag per layer says that it slides."""
    pattern = keys.raw("attention.sliding_window_pattern")
    if pattern is None:
        pattern = 6
    slides = [bool(flag) for flag in pattern] if isinstance(pattern, np.ndarray) else [(i + 1) % pattern != 0 for i in range(num_layers)]
    return ["sliding_attention" if flag else "full_attention" for flag in slides]


def derive_generation_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return `bos_token_id`, `pad_token_id` and the list `eos_token_id`, those that the metadata give.

    A chat model ends its turn with a token that some files name (`eot`, `eom`) and older ones only write in their chat template.
    """
    config = {f"{name}_token_id": metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in (("bos", "bos"), ("pad", "padding"))}
    ends = [metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    tokens, template = metadata.get("tokenizer.ggml.tokens", []), metadata.get("tokenizer.chat_template", "")
    ends += [tokens.index(text) for text in _END_OF_TURN if text in template and text in tokens]
    config["eos_token_id"] = sorted({end for end in ends if end is not None}) or None
    return {name: value for name, value in config.items() if value is not None}
