"""Hyper-parameters of a decoder, normalised from a Hugging Face `config.json` dictionary.

Both spellings of the rope settings are read: `rope_theta` + `rope_scaling` (transformers 4) and `rope_parameters` (transformers 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from octavo.checkpoint.config_keys import count
from octavo.checkpoint.moe_config import MoeConfig
from octavo.errors import CheckpointError

__all__ = ["ModelConfig", "RopeConfig"]


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary embedding of one kind of layer.

    Attributes:
        theta: base of the frequencies.
        scaling: rope_type: default, linear, dynamic, llama3, llama3_factors or yarn.
        parameters: the other entries of the scaling dictionary (factor, low_freq_factor, ...).
    """

    theta: float
    scaling: str = "default"
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One decoder. Sizes are numbers of elements.

    Attributes:
        windows: per layer, how many positions a token attends to, itself included; None: all before it.
        ropes: per layer.
        attention_scale: factor of q.k before the softmax.
        moe: the mixtures of experts; None in models without.
        raw: the whole dictionary, for what only one family has.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    attention_scale: float
    windows: tuple[int | None, ...]
    ropes: tuple[RopeConfig, ...]
    moe: MoeConfig | None
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> ModelConfig:
        """Read a config.json dictionary. Raises `CheckpointError` naming a key that is missing or makes no sense."""
        num_layers = count(config, "num_hidden_layers")
        num_heads = count(config, "num_attention_heads")
        hidden_size = count(config, "hidden_size")
        head_dim = config.get("head_dim") or hidden_size // num_heads
        num_kv_heads = config.get("num_key_value_heads") or num_heads
        if num_heads % num_kv_heads:
            raise CheckpointError(f"config.json: num_attention_heads {num_heads} is no multiple of num_key_value_heads {num_kv_heads}")
        kinds = _layer_kinds(config, num_layers)
        window = config.get("sliding_window")
        return cls(
            model_type=config["model_type"],
            vocab_size=count(config, "vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=count(config, "intermediate_size"),
            num_layers=num_layers,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            max_position_embeddings=int(config.get("max_position_embeddings") or 2048),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            attention_scale=float(config.get("query_pre_attn_scalar") or head_dim) ** -0.5,
            windows=tuple(window if kind == "sliding_attention" else None for kind in kinds),
            ropes=tuple(_rope(config, kind) for kind in kinds),
            moe=MoeConfig.from_dict(config, num_layers),
            raw=config,
        )


def _layer_kinds(config: dict[str, Any], num_layers: int) -> list[str]:
    """One of full_attention and sliding_attention per layer."""
    if config.get("layer_types"):
        kinds = list(config["layer_types"])
        unknown = set(kinds) - {"full_attention", "sliding_attention"}
        if unknown or len(kinds) != num_layers:
            raise CheckpointError(
                f"config.json: layer_types has {len(kinds)} entries for {num_layers} layers, of kinds {sorted(set(kinds))}"
            )
        return kinds
    if config["model_type"] == "gemma3_text":
        pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
        return ["full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(num_layers)]
    if config["model_type"] in ("qwen2", "qwen3"):
        first = config.get("max_window_layers", num_layers) if config.get("use_sliding_window") else num_layers
        return ["sliding_attention" if layer >= first else "full_attention" for layer in range(num_layers)]
    if config["model_type"] == "qwen2_moe":
        last = config.get("max_window_layers", 28) if config.get("use_sliding_window") else 0
        return ["sliding_attention" if layer < last and layer % 2 == 0 else "full_attention" for layer in range(num_layers)]
    slides = config.get("sliding_window") and config.get("use_sliding_window", True)
    return ["sliding_attention" if slides else "full_attention"] * num_layers


def _rope(config: dict[str, Any], kind: str) -> RopeConfig:
    parameters = config.get("rope_parameters") or {}
    if kind in parameters:  # one dictionary per kind of layer
        parameters = parameters[kind]
    local = kind == "sliding_attention" and config["model_type"] == "gemma3_text"
    if local and "rope_local_base_freq" in config and "rope_theta" not in parameters:
        return RopeConfig(theta=float(config["rope_local_base_freq"]))
    scaling = {**(config.get("rope_scaling") or {}), **parameters}
    name = scaling.pop("rope_type", None) or scaling.pop("type", None) or "default"
    scaling.pop("type", None)
    if name != "default":
        scaling.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    theta = scaling.pop("rope_theta", None) or config.get("rope_theta") or 10000.0
    return RopeConfig(theta=float(theta), scaling=name, parameters=scaling)
