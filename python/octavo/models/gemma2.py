"""Gemma 2 (Gemma Team 2024): norms around each block, every other layer local, bounded scores and logits, scaled embeddings."""

from __future__ import annotations

from typing import Any, ClassVar

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import SANDWICH_NAMES, GgufFamily
from octavo.checkpoint.gguf_config import window_pattern
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import SandwichBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "Model"]

_LAYERS_27B = 46  # the one size whose attention scale is not 1/sqrt(head_dim)


class Model(Decoder):
    """Gemma 2. Norm weights are stored less 1."""

    norm_offset = 1.0
    defaults: ClassVar = {
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(
            keys,
            slides=lambda layer: layer % 2 == 0,
            activation_key="hidden_activation",
            qkv_bias=bias,
            out_bias=bias,
            attention_scale=keys.positive("query_pre_attn_scalar") ** -0.5,
            attention_softcap=keys.optional_number("attn_logit_softcapping"),
            logits_softcap=keys.optional_number("final_logit_softcapping"),
            embedding_scale=keys.count("hidden_size") ** 0.5,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> SandwichBlock:
        return SandwichBlock(weights, config, index, rope, norm_offset=self.norm_offset)


def _gguf_config(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    num_layers = config["num_hidden_layers"]
    is_27b = num_layers == _LAYERS_27B
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": config["hidden_size"] // config["num_attention_heads"] if is_27b else config["head_dim"],
        "sliding_window": keys.count("attention.sliding_window", 4096),
        "layer_types": window_pattern(keys, num_layers, every=2),
        "attn_logit_softcapping": keys.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": keys.number("final_logit_softcapping", 30.0),
    }


GGUF = GgufFamily("gemma2", "gemma2", _gguf_config, SANDWICH_NAMES, norm_offset=1.0)
