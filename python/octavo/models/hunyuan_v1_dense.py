"""Hunyuan dense (Tencent 2025): Llama with queries and keys normalised behind the rotation."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import GgufFamily, StoredNames
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import QkNorm
from octavo.layers.block import PreNormBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "STORED_NAMES", "Model"]

GGUF = GgufFamily("hunyuan-dense", "hunyuan_v1_dense")

STORED_NAMES = StoredNames(
    ((r"(.*)\.query_layernorm\.(.*)", r"\1.q_norm.\2"), (r"(.*)\.key_layernorm\.(.*)", r"\1.k_norm.\2")),
)


class Model(Decoder):
    """Hunyuan."""

    defaults: ClassVar = {
        "vocab_size": 290943,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(keys, qkv_bias=bias, out_bias=bias)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, qk_norm=QkNorm(after_rotation=True))
