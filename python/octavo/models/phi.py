"""Phi-1, 1.5 and 2 (Gunasekar et al. 2023): attention and feed-forward side by side, part of each head rotated, biases everywhere."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import ParallelBlock
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(r"model\.layers", {"self_attn.dense": "self_attn.o_proj"}, {r"model\.final_layernorm": "model.norm"})
)


class Model(Decoder):
    """Phi."""

    defaults: ClassVar = {
        "vocab_size": 51200,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "hidden_act": "gelu_new",
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "partial_rotary_factor": 0.5,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return decoder_config(
            keys,
            partial_rotary=True,
            eps_key="layer_norm_eps",
            norm="layer",
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
            head_bias=True,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> ParallelBlock:
        return ParallelBlock(weights, config, index, rope, mlp=plain_mlp(weights, config, index, up="fc1", down="fc2"))
