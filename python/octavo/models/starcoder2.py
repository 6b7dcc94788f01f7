"""StarCoder 2 (Lozhkov et al. 2024): layer norms and a plain feed-forward block, biases everywhere."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["Model"]


class Model(Decoder):
    """StarCoder 2."""

    defaults: ClassVar = {
        "vocab_size": 49152,
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_hidden_layers": 30,
        "num_attention_heads": 24,
        "num_key_value_heads": 2,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 4096,
        "norm_epsilon": 1e-05,
        "tie_word_embeddings": True,
        "use_bias": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("use_bias")
        return decoder_config(
            keys, slides=lambda layer: True, eps_key="norm_epsilon", norm="layer", qkv_bias=bias, out_bias=bias, mlp_bias=bias
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=plain_mlp(weights, config, index, up="c_fc", down="c_proj"))
