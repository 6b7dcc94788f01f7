"""InternLM 2 (Cai et al. 2024): Llama with queries, keys and values in one matrix, head by head."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["REFERENCE", "STORED_NAMES", "Model"]

REFERENCE = "transformers' Llama, tensors renamed"

STORED_NAMES = StoredNames(
    name_patterns(
        r"model\.layers",
        {
            "attention.wqkv": "self_attn.qkv_proj",
            "attention.wo": "self_attn.o_proj",
            "attention_norm": "input_layernorm",
            "ffn_norm": "post_attention_layernorm",
            "feed_forward.w1": "mlp.gate_proj",
            "feed_forward.w3": "mlp.up_proj",
            "feed_forward.w2": "mlp.down_proj",
        },
        {r"model\.tok_embeddings": "model.embed_tokens", "output": "lm_head"},
    ),
    grouped_qkv=True,
)


class Model(Decoder):
    """InternLM 2."""

    defaults: ClassVar = {
        "vocab_size": 103168,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": False,
        "bias": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("bias")
        return decoder_config(keys, qkv_bias=bias, out_bias=bias)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=feed_forward(weights, config, index), fused=True)
