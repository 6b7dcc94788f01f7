"""OLMoE: a mixture of experts in every layer, queries and keys normalised over all heads (Muennighoff et al. 2024)."""

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

GGUF = GgufFamily("olmoe", "olmoe", renormalise=False)


class Model(Decoder):
    """OLMoE. Models that clip q, k and v (`clip_qkv`) are refused."""

    defaults: ClassVar = {
        "vocab_size": 50304,
        "hidden_size": 2048,
        "intermediate_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "num_experts_per_tok": 8,
        "num_experts": 64,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        moe = moe_config(keys, Routing(keys.flag("norm_topk_prob")))
        return decoder_config(keys, qkv_bias=bias, out_bias=bias, moe=moe)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, qk_norm=QkNorm(all_heads=True), mlp=feed_forward(weights, config, index))
