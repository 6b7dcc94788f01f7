"""GLM-4.7-Flash (GLM Team 2026): DeepSeek-V3's attention and experts in a smaller model."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import grouped_routing, moe_config
from octavo.checkpoint.family_files import SHARED_EXPERTS, StoredNames
from octavo.checkpoint.mla_config import latent_decoder_config, latent_rows
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.mla import LatentAttention
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(SHARED_EXPERTS, rows=latent_rows)


class Model(Decoder):
    """GLM-4.7-Flash."""

    defaults: ClassVar = {
        "vocab_size": 154880,
        "hidden_size": 2048,
        "intermediate_size": 10240,
        "moe_intermediate_size": 1536,
        "num_hidden_layers": 47,
        "num_attention_heads": 20,
        "hidden_act": "silu",
        "max_position_embeddings": 202752,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "n_shared_experts": 1,
        "num_experts": 64,
        "num_experts_per_tok": 4,
        "routed_scaling_factor": 1.8,
        "kv_lora_rank": 512,
        "q_lora_rank": 768,
        "qk_rope_head_dim": 64,
        "v_head_dim": 256,
        "qk_nope_head_dim": 192,
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
    }
    aliases: ClassVar = {"num_experts": "n_routed_experts"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        kinds = keys.texts("mlp_layer_types", None)
        if kinds and (len(kinds) != keys.count("num_hidden_layers") or not set(kinds) <= {"dense", "sparse"}):
            raise keys.refused("mlp_layer_types", "dense or sparse for each layer is needed")
        if not kinds and keys.optional_count("first_k_dense_replace", 1, least=0) != 1:
            raise keys.refused("first_k_dense_replace", "one dense layer comes first, or mlp_layer_types says which ones are")
        keys.value("first_k_dense_replace", None)
        moe = moe_config(
            keys,
            grouped_routing(keys),
            shared_expert_size=keys.count("n_shared_experts") * keys.count("moe_intermediate_size"),
            size_key="moe_intermediate_size",
            sparse=lambda layer: kinds[layer] == "sparse" if kinds else layer > 0,
            shared_gate=False,
            correction_bias=True,
        )
        return latent_decoder_config(keys, moe=moe)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        attention = LatentAttention(weights, config, f"model.layers.{index}.self_attn", rope)
        return PreNormBlock(weights, config, index, rope, attention=attention, mlp=feed_forward(weights, config, index))
