"""MPT 7B and 30B (MosaicML 2023): positions as linear biases of the scores (ALiBi), layer norms and matrices without biases."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.alibi import alibi_slopes_interleaved
from octavo.layers.block import PreNormBlock
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(
        r"transformer\.blocks",
        {
            "attn.Wqkv": "self_attn.qkv_proj",
            "attn.out_proj": "self_attn.o_proj",
            "norm_1": "input_layernorm",
            "norm_2": "post_attention_layernorm",
            "ffn.up_proj": "mlp.up_proj",
            "ffn.down_proj": "mlp.down_proj",
        },
        {r"transformer\.wte": "model.embed_tokens", r"transformer\.norm_f": "model.norm"},
    )
)
_NEUTRAL = {"alibi": True, "qk_ln": False, "prefix_lm": False, "rope": False}


class Model(Decoder):
    """MPT. Models with other positions than linear biases, with clipped or normalised queries are refused."""

    defaults: ClassVar = {
        "vocab_size": 50368,
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
        "max_position_embeddings": 2048,
        "layer_norm_epsilon": 1e-05,
        "tie_word_embeddings": True,
        "expansion_ratio": 4,
        "no_bias": True,
    }
    aliases: ClassVar = {
        "hidden_size": "d_model",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
        "max_position_embeddings": "max_seq_len",
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        attention = keys.section("attn_config", {"alibi": True})
        for key, value in _NEUTRAL.items():
            if attention.flag(key) is not value:
                raise attention.refused(key, f"only {str(value).lower()} is supported")
        if attention.optional_number("clip_qkv"):
            raise attention.refused("clip_qkv", "queries, keys and values that are clipped are not supported")
        if not keys.flag("no_bias"):
            raise keys.refused("no_bias", "only models without biases are supported")
        hidden_size, num_heads = keys.count("hidden_size"), keys.count("num_attention_heads", most=8192)
        return decoder_config(
            keys,
            rotates=lambda layer: False,
            intermediate_size=keys.count("expansion_ratio") * hidden_size,
            eps_key="layer_norm_epsilon",
            norm="layer_unbiased",
            alibi_slopes=alibi_slopes_interleaved(num_heads, attention.positive("alibi_bias_max", 8)),
            attention_scale=attention.optional_number("softmax_scale") or (hidden_size / num_heads) ** -0.5,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=plain_mlp(weights, config, index), fused=True)
