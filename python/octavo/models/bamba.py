"""Bamba (IBM, Princeton, CMU, UIUC 2024): Mamba-2 mixers, with attention in a few layers that rotate half of each head."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig
from octavo.checkpoint.ssm_config import hybrid_ssm_config
from octavo.layers.block import PreNormBlock
from octavo.layers.mamba import Mamba2Mixer
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (
        (r"(.*)\.feed_forward\.(.*)", r"\1.mlp.\2"),
        (r"(.*)\.pre_ff_layernorm\.(.*)", r"\1.post_attention_layernorm.\2"),
        (r"model\.final_layernorm\.(.*)", r"model.norm.\1"),
    )
)


class Model(Decoder):
    """Bamba."""

    defaults: ClassVar = {
        "vocab_size": 128000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 262144,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "partial_rotary_factor": 0.5,
        "mamba_n_heads": 128,
        "mamba_d_head": "auto",
        "mamba_n_groups": 1,
        "mamba_d_state": 256,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        attends, bias = set(keys.counts("attn_layer_indices", None)), keys.flag("attention_bias")
        config = decoder_config(
            keys, partial_rotary=True, qkv_bias=bias, out_bias=bias, mlp_bias=keys.flag("mlp_bias"), ssm=hybrid_ssm_config(keys)
        )
        return replace(config, recurrent_layers=tuple(layer not in attends for layer in range(config.num_layers)))

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        mixer = None
        if config.recurrent_layers[index]:
            assert config.ssm is not None
            mixer = Mamba2Mixer(weights, config.ssm, config.hidden_size, f"model.layers.{index}.mamba")
        return PreNormBlock(weights, config, index, rope, attention=mixer)
