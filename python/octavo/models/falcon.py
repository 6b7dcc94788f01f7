"""Falcon 7B, 40B, 180B and 11B (Almazrouei et al. 2023): few key/value heads, attention and feed-forward side by side."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import ParallelBlock, PreNormBlock
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(
        r"transformer\.h",
        {
            "self_attention.query_key_value": "self_attn.qkv_proj",
            "self_attention.dense": "self_attn.o_proj",
            "ln_attn": "input_layernorm",
            "ln_mlp": "post_attention_layernorm",
        },
        {r"transformer\.word_embeddings": "model.embed_tokens", r"transformer\.ln_f": "model.norm"},
    ),
    grouped_qkv=True,
)


class Model(Decoder):
    """Falcon. The first small models, whose positions are linear biases (`alibi`), are refused."""

    defaults: ClassVar = {
        "vocab_size": 65024,
        "hidden_size": 4544,
        "num_hidden_layers": 32,
        "num_attention_heads": 71,
        "activation": "gelu",
        "max_position_embeddings": 2048,
        "layer_norm_epsilon": 1e-05,
        "tie_word_embeddings": True,
        "multi_query": True,
        "new_decoder_architecture": False,
        "parallel_attn": True,
        "bias": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias, is_new, is_parallel = (keys.flag(key) for key in ("bias", "new_decoder_architecture", "parallel_attn"))
        num_heads = keys.count("num_attention_heads")
        num_kv_heads = keys.optional_count("num_kv_heads") or num_heads
        if not is_new:
            num_kv_heads = 1 if keys.flag("multi_query") else num_heads
        if num_heads % num_kv_heads:
            raise keys.refused("num_kv_heads", f"num_attention_heads, {num_heads}, must be a multiple of it")
        num_norms = (keys.optional_count("num_ln_in_parallel_attn", most=2) or 2) if is_new else 1
        return decoder_config(
            keys,
            intermediate_size=keys.optional_count("ffn_hidden_size") or 4 * keys.count("hidden_size"),
            num_kv_heads=num_kv_heads,
            eps_key="layer_norm_epsilon",
            activation_key="activation",
            norm="layer",
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=bias,
            parallel_norms=num_norms if is_new or is_parallel else 0,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> ParallelBlock | PreNormBlock:
        mlp = plain_mlp(weights, config, index, up="dense_h_to_4h", down="dense_4h_to_h")
        if config.parallel_norms:
            return ParallelBlock(weights, config, index, rope, mlp=mlp, mlp_norm=config.parallel_norms == 2, fused=True)
        return PreNormBlock(weights, config, index, rope, mlp=mlp, fused=True)
