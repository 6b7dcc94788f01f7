"""Hyper-parameters of mixtures of experts, normalised from a Hugging Face `config.json` dictionary.

Families name the same things differently; missing keys have the defaults of transformers' configuration classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from octavo.checkpoint.config_keys import count
from octavo.errors import CheckpointError

__all__ = ["MoeConfig"]


@dataclass(frozen=True, slots=True)
class MoeConfig:
    """Sizes are numbers of elements.

    Attributes:
        top_k: experts that a token passes through.
        expert_size: feed-forward size of one expert.
        renormalise: whether the weights of a token's experts are made to add up to 1.
        shared_expert_size: feed-forward size of the expert that every token passes through; None without.
        sparse_layers: per layer, whether it has experts; the others have one feed-forward block of `intermediate_size`.
    """

    num_experts: int
    top_k: int
    expert_size: int
    renormalise: bool
    shared_expert_size: int | None
    sparse_layers: tuple[bool, ...]

    @classmethod
    def from_dict(cls, config: dict[str, Any], num_layers: int) -> MoeConfig | None:
        """Read a config.json dictionary; None without experts. Raises `CheckpointError` naming a key that makes no sense."""
        if config.get("num_experts_per_tok") is None:
            return None
        num_experts, top_k = count(config, "num_experts", "num_local_experts"), count(config, "num_experts_per_tok")
        if top_k > num_experts:
            raise CheckpointError(f"config.json: num_experts_per_tok is {top_k}, more than the {num_experts} experts there are")
        shared = config.get("shared_expert_intermediate_size")
        step, dense = count({"decoder_sparse_step": 1, **config}, "decoder_sparse_step"), config.get("mlp_only_layers") or []
        return cls(
            num_experts=num_experts,
            top_k=top_k,
            expert_size=count(config, "moe_intermediate_size", "intermediate_size"),
            renormalise=bool(config.get("norm_topk_prob", config["model_type"] == "mixtral")),
            shared_expert_size=count(config, "shared_expert_intermediate_size") if shared else None,
            sparse_layers=tuple(layer not in dense and (layer + 1) % step == 0 for layer in range(num_layers)),
        )
