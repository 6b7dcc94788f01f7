"""OPT (Zhang et al. 2022): learned positions, the first two of whose rows nothing uses; layer norms before each half of a block."""

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
        r"(?:model\.)?decoder\.layers",
        {
            "self_attn.out_proj": "self_attn.o_proj",
            "self_attn_layer_norm": "input_layernorm",
            "final_layer_norm": "post_attention_layernorm",
            "fc1": "mlp.fc1",
            "fc2": "mlp.fc2",
        },
        {
            r"(?:model\.)?decoder\.embed_tokens": "model.embed_tokens",
            r"(?:model\.)?decoder\.embed_positions": "model.embed_positions",
            r"(?:model\.)?decoder\.final_layer_norm": "model.norm",
        },
    )
)
_OFFSET = 2


class Model(Decoder):
    """OPT. The one of 350M, which normalises behind its blocks and projects its embeddings, is refused."""

    defaults: ClassVar = {
        "vocab_size": 50272,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "activation_function": "relu",
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-05,
        "tie_word_embeddings": True,
        "enable_bias": True,
        "do_layer_norm_before": True,
        "layer_norm_elementwise_affine": True,
    }
    aliases: ClassVar = {"intermediate_size": "ffn_dim"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        hidden_size, bias = keys.count("hidden_size"), keys.flag("enable_bias")
        for key, value in (("do_layer_norm_before", True), ("layer_norm_elementwise_affine", True), ("_remove_final_layer_norm", False)):
            if keys.flag(key) is not value:
                raise keys.refused(key, f"only OPT models with {str(value).lower()} are supported")
        if keys.count("word_embed_proj_dim", hidden_size) != hidden_size:
            raise keys.refused("word_embed_proj_dim", f"only embeddings of hidden_size, {hidden_size}, are supported")
        return decoder_config(
            keys,
            rotates=lambda layer: False,
            eps_key="layer_norm_eps",
            activation_key="activation_function",
            norm="layer",
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=bias,
        )

    def make_embedding(self, weights: Weights, config: ModelConfig) -> PositionedEmbedding:
        return PositionedEmbedding(weights, config, offset=_OFFSET)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=plain_mlp(weights, config, index, up="fc1", down="fc2"))
