"""DeepSeek-V2 (DeepSeek-AI 2024): attention over a compressed cache, mixtures of experts of which the best groups are kept."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import moe_config
from octavo.checkpoint.family_files import SHARED_EXPERTS, StoredNames
from octavo.checkpoint.mla_config import latent_decoder_config, latent_rows
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.block import PreNormBlock
from octavo.layers.mla import LatentAttention
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(SHARED_EXPERTS, rows=latent_rows)


class Model(Decoder):
    """DeepSeek-V2."""

    defaults: ClassVar = {
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "first_k_dense_replace": 0,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "num_experts": 64,
        "num_experts_per_tok": None,
        "n_shared_experts": 2,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "routed_scaling_factor": 1.0,
        "topk_method": "greedy",
        "v_head_dim": 128,
        "moe_intermediate_size": 1407,
    }
    aliases: ClassVar = {"num_experts": "n_routed_experts"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        num_dense = keys.count("first_k_dense_replace", least=0)
        moe = moe_config(
            keys,
            _routing(keys),
            shared_expert_size=keys.count("n_shared_experts") * keys.count("moe_intermediate_size"),
            size_key="moe_intermediate_size",
            sparse=lambda layer: layer >= num_dense,
            shared_gate=False,
        )
        return latent_decoder_config(keys, mlp_bias=keys.flag("mlp_bias"), moe=moe)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        attention = LatentAttention(weights, config, f"model.layers.{index}.self_attn", rope)
        return PreNormBlock(weights, config, index, rope, attention=attention, mlp=feed_forward(weights, config, index))


def _routing(keys: ConfigKeys) -> Routing:
    """The choice with and without groups. transformers and the vendor disagree on `norm_topk_prob`, which no model sets."""
    method, scale = keys.text("topk_method"), keys.positive("routed_scaling_factor")
    if method not in ("greedy", "group_limited_greedy"):
        raise keys.refused("topk_method", "known are greedy and group_limited_greedy")
    if keys.flag("norm_topk_prob"):
        raise keys.refused("norm_topk_prob", "models of this model_type do not divide the weights by their sum")
    if keys.text("scoring_func", "softmax") != "softmax":
        raise keys.refused("scoring_func", "models of this model_type choose by softmax")
    num_groups, top_groups = (keys.optional_count(key) or 1 for key in ("n_group", "topk_group"))
    grouped = method != "greedy"
    return Routing(renormalise=False, num_groups=num_groups if grouped else 1, top_groups=top_groups if grouped else 1, scale=scale)
