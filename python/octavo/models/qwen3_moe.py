"""Qwen3-MoE: Qwen3 with mixtures of experts (Yang et al. 2025)."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config
from octavo.checkpoint.family_files import GgufFamily
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.attention import QkNorm
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "Model"]

GGUF = GgufFamily("qwen3moe", "qwen3_moe", renormalise=True)


class Model(Decoder):
    """Qwen3-MoE."""

    defaults: ClassVar = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "num_experts_per_tok": 8,
        "num_experts": 128,
        "moe_intermediate_size": 768,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        moe = moe_config(keys, Routing(keys.flag("norm_topk_prob")), size_key="moe_intermediate_size")
        return decoder_config(keys, slides=lambda layer: True, qkv_bias=bias, out_bias=bias, moe=moe)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, qk_norm=QkNorm(), mlp=feed_forward(weights, config, index))
