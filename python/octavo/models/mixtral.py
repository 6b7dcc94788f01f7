"""Mixtral: Mistral with a mixture of experts in every layer (Jiang et al. 2024). In GGUF files it is a Llama, see `llama.py`."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (
        (r"(.*)\.block_sparse_moe\.experts\.(\d+)\.w1\.weight", r"\1.mlp.experts.\2.gate_proj.weight"),
        (r"(.*)\.block_sparse_moe\.experts\.(\d+)\.w2\.weight", r"\1.mlp.experts.\2.down_proj.weight"),
        (r"(.*)\.block_sparse_moe\.experts\.(\d+)\.w3\.weight", r"\1.mlp.experts.\2.up_proj.weight"),
        (r"(.*)\.block_sparse_moe\.(.*)", r"\1.mlp.\2"),
    )
)


class Model(Decoder):
    """Mixtral."""

    defaults: ClassVar = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
        "num_experts_per_tok": 2,
        "num_experts": 8,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return decoder_config(keys, slides=lambda layer: True, moe=moe_config(keys, Routing(renormalise=True)))

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=feed_forward(weights, config, index))
