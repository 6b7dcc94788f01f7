"""Gemma 3, the text model (Gemma Team 2025): norms around each block, five local layers to a global one; EmbeddingGemma."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import SANDWICH_NAMES, GgufFamily
from octavo.checkpoint.gguf_config import window_pattern
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import QkNorm
from octavo.layers.block import SandwichBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "Model"]

_LAYERS_27B = 62  # the one size whose attention scale is not 1/sqrt(head_dim)


class Model(Decoder):
    """Gemma 3 text. Norm weights are stored less 1."""

    norm_offset = 1.0
    defaults: ClassVar = {
        "vocab_size": 262208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_local_base_freq": 10000.0,
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        name = "_sliding_window_pattern" if "_sliding_window_pattern" in keys else "sliding_window_pattern"
        every, bias = keys.count(name, 6), keys.flag("attention_bias")
        config = decoder_config(
            keys,
            slides=lambda layer: (layer + 1) % every != 0,
            local_theta=keys.positive("rope_local_base_freq"),
            activation_key="hidden_activation",
            qkv_bias=bias,
            out_bias=bias,
            attention_scale=keys.positive("query_pre_attn_scalar") ** -0.5,
            attention_softcap=keys.optional_number("attn_logit_softcapping"),
            logits_softcap=keys.optional_number("final_logit_softcapping"),
            embedding_scale=keys.count("hidden_size") ** 0.5,
            causal=not keys.flag("use_bidirectional_attention", False),
        )
        if config.causal:
            return config
        return replace(config, windows=tuple(window and window // 2 + 1 for window in config.windows))  # as many to each side

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> SandwichBlock:
        return SandwichBlock(weights, config, index, rope, qk_norm=QkNorm(offset=self.norm_offset), norm_offset=self.norm_offset)


def _gguf_config(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    num_layers = config["num_hidden_layers"]
    is_27b = num_layers == _LAYERS_27B
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_local_base_freq": keys.positive("rope.freq_base_swa", 10000.0),
        "query_pre_attn_scalar": config["hidden_size"] // config["num_attention_heads"] if is_27b else config["head_dim"],
        "sliding_window": keys.count("attention.sliding_window"),
        "layer_types": window_pattern(keys, num_layers, every=6),
        "attn_logit_softcapping": keys.optional_number("attn_logit_softcapping"),
        "final_logit_softcapping": keys.optional_number("final_logit_softcapping"),
    }


GGUF = GgufFamily("gemma3", "gemma3_text", _gguf_config, SANDWICH_NAMES, norm_offset=1.0)
