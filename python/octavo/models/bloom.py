"""BLOOM (BigScience 2022): positions as linear biases of the scores (ALiBi), normalised embeddings, biases everywhere."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.alibi import alibi_slopes
from octavo.layers.block import PreNormBlock
from octavo.layers.embedding import NormedEmbedding
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(
        r"(?:transformer\.)?h",
        {"self_attention.query_key_value": "self_attn.qkv_proj", "self_attention.dense": "self_attn.o_proj"},
        {
            r"(?:transformer\.)?word_embeddings": "model.embed_tokens",
            r"(?:transformer\.)?word_embeddings_layernorm": "model.embed_norm",
            r"(?:transformer\.)?ln_f": "model.norm",
        },
    ),
    grouped_qkv=True,
)


class Model(Decoder):
    """BLOOM."""

    defaults: ClassVar = {
        "vocab_size": 250880,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 2048,
        "layer_norm_epsilon": 1e-05,
        "tie_word_embeddings": True,
    }
    aliases: ClassVar = {
        "hidden_size": "n_embed",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "max_position_embeddings": "seq_length",
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        if keys.flag("apply_residual_connection_post_layernorm"):
            raise keys.refused("apply_residual_connection_post_layernorm", "only false is supported")
        return decoder_config(
            keys,
            rotates=lambda layer: False,
            intermediate_size=4 * keys.count("hidden_size"),
            eps_key="layer_norm_epsilon",
            norm="layer",
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
            alibi_slopes=alibi_slopes(keys.count("num_attention_heads", most=8192)),
        )

    def make_embedding(self, weights: Weights, config: ModelConfig) -> NormedEmbedding:
        return NormedEmbedding(weights, config)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        mlp = plain_mlp(weights, config, index, up="dense_h_to_4h", down="dense_4h_to_h")
        return PreNormBlock(weights, config, index, rope, mlp=mlp, fused=True)
