"""Qwen1.5-MoE and Qwen2-MoE: Qwen2 with mixtures of experts and a shared expert behind a sigmoid (Yang et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config
from octavo.checkpoint.family_files import GgufFamily
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "Model"]

GGUF = GgufFamily("qwen2moe", "qwen2_moe", lambda keys, config: {"qkv_bias": config["attention_bias"]}, renormalise=False)


class Model(Decoder):
    """Qwen2-MoE."""

    defaults: ClassVar = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
        "num_experts_per_tok": 4,
        "num_experts": 60,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "qkv_bias": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        last, bias = keys.count("max_window_layers", least=0), keys.flag("qkv_bias")
        keys.flag("attention_bias")  # in GGUF files only, where `qkv_bias` says the same
        shared = keys.count("shared_expert_intermediate_size", least=0) or None
        moe = moe_config(keys, Routing(keys.flag("norm_topk_prob")), shared_expert_size=shared, size_key="moe_intermediate_size")
        return decoder_config(keys, slides=lambda layer: layer < last and layer % 2 == 0, qkv_bias=bias, moe=moe)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=feed_forward(weights, config, index))
