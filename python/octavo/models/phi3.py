"""Phi-3 and Phi-4 (Abdin et al. 2024): Llama with fused projections, partial rotation and long rotary factors."""

from __future__ import annotations

from typing import Any, ClassVar

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import BLOCK_NAMES, GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "Model"]


class Model(Decoder):
    """Phi-3."""

    defaults: ClassVar = {
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "original_max_position_embeddings": 4096,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return decoder_config(keys, slides=lambda layer: True, partial_rotary=True)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, fused=True)


def _gguf_config(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    return {"sliding_window": keys.optional_count("attention.sliding_window", least=0) or None}


GGUF = GgufFamily("phi3", "phi3", _gguf_config, BLOCK_NAMES | {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"})
