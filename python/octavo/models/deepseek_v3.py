"""DeepSeek-V3, R1 and their like (DeepSeek-AI 2024): attention over a compressed cache, experts behind sigmoids, the best groups first."""

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
    """DeepSeek-V3. Layers that guess further tokens ahead are left in the file."""

    defaults: ClassVar = {
        "vocab_size": 129280,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": 61,
        "num_attention_heads": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "n_shared_experts": 1,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "routed_scaling_factor": 2.5,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "qk_nope_head_dim": 128,
        "n_group": 8,
        "topk_group": 4,
        "first_k_dense_replace": 3,
        "norm_topk_prob": True,
    }
    aliases: ClassVar = {"num_experts": "n_routed_experts"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        num_dense = keys.count("first_k_dense_replace", least=0)
        moe = moe_config(
            keys,
            grouped_routing(keys),
            shared_expert_size=keys.count("n_shared_experts") * keys.count("moe_intermediate_size"),
            size_key="moe_intermediate_size",
            sparse=lambda layer: layer >= num_dense,
            shared_gate=False,
            correction_bias=True,
        )
        return latent_decoder_config(keys, moe=moe)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        attention = LatentAttention(weights, config, f"model.layers.{index}.self_attn", rope)
        return PreNormBlock(weights, config, index, rope, attention=attention, mlp=feed_forward(weights, config, index))
