"""GPT-2 (Radford et al. 2019): learned positions, layer norms, matrices stored the other way round."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.embedding import PositionedEmbedding
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(
        r"(?:transformer\.)?h",
        {
            "attn.c_attn": "self_attn.qkv_proj",
            "attn.c_proj": "self_attn.o_proj",
            "ln_1": "input_layernorm",
            "ln_2": "post_attention_layernorm",
        },
        {
            r"(?:transformer\.)?wte": "model.embed_tokens",
            r"(?:transformer\.)?wpe": "model.embed_positions",
            r"(?:transformer\.)?ln_f": "model.norm",
        },
    ),
    transposed=r"model\.layers\.\d+\.(?:self_attn\.(?:qkv|o)_proj|mlp\.c_(?:fc|proj))\.weight",
)


class Model(Decoder):
    """GPT-2."""

    defaults: ClassVar = {
        "vocab_size": 50257,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "activation_function": "gelu_new",
        "max_position_embeddings": 1024,
        "layer_norm_epsilon": 1e-05,
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
    }
    aliases: ClassVar = {
        "hidden_size": "n_embd",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "max_position_embeddings": "n_positions",
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        hidden_size, num_heads = keys.count("hidden_size"), keys.count("num_attention_heads")
        return decoder_config(
            keys,
            rotates=lambda layer: False,
            intermediate_size=keys.optional_count("n_inner") or 4 * hidden_size,
            eps_key="layer_norm_epsilon",
            activation_key="activation_function",
            norm="layer",
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
            attention_scale=(hidden_size / num_heads) ** -0.5 if keys.flag("scale_attn_weights") else 1.0,
        )

    def make_embedding(self, weights: Weights, config: ModelConfig) -> PositionedEmbedding:
        return PositionedEmbedding(weights, config)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        mlp = plain_mlp(weights, config, index, up="c_fc", down="c_proj")
        return PreNormBlock(weights, config, index, rope, mlp=mlp, fused=True)
