"""Qwen3-Next (Yang et al. 2025): gated delta nets, gated attention in every fourth layer, mixtures of many small experts."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, layer_kinds, moe_config
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import DeltaConfig, ModelConfig, Routing
from octavo.layers.attention import Attention, QkNorm
from octavo.layers.block import PreNormBlock
from octavo.layers.delta_net import GatedDeltaNet
from octavo.layers.moe import feed_forward
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]


def _rows(name: str, config: ModelConfig) -> NDArray[np.int64] | None:
    """Files have rows head by head; layers ask for one kind after the other."""
    part, delta = name.split(".")[-2], config.delta
    assert delta is not None
    values = delta.num_heads // delta.num_key_heads
    if part == "q_proj":  # of each head its queries, its gates
        return _by_kind(config.num_heads, [config.head_dim, config.head_dim])
    if part == "in_proj_qkvz":  # of each key head its queries, its keys, its values, their gates
        return _by_kind(delta.num_key_heads, [delta.key_dim, delta.key_dim, values * delta.value_dim, values * delta.value_dim])
    if part == "in_proj_ba":
        return _by_kind(delta.num_key_heads, [values, values])
    return None


def _by_kind(num_heads: int, sizes: list[int]) -> NDArray[np.int64]:
    rows = np.arange(num_heads * sum(sizes)).reshape(num_heads, -1)
    return np.concatenate([kind.ravel() for kind in np.split(rows, np.cumsum(sizes)[:-1], axis=1)])


STORED_NAMES = StoredNames(rows=_rows)


class Model(Decoder):
    """Qwen3-Next. Norm weights are stored less 1. Layers that guess further tokens ahead are left in the file."""

    norm_offset = 1.0
    defaults: ClassVar = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "head_dim": 256,
        "partial_rotary_factor": 0.25,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "num_experts_per_tok": 10,
        "num_experts": 512,
        "norm_topk_prob": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        every, bias, shared = (
            keys.count("full_attention_interval", 4),
            keys.flag("attention_bias"),
            keys.count("shared_expert_intermediate_size"),
        )
        delta = DeltaConfig(
            num_key_heads=keys.count("linear_num_key_heads", most=8192),
            key_dim=keys.count("linear_key_head_dim"),
            num_heads=keys.count("linear_num_value_heads", most=8192),
            value_dim=keys.count("linear_value_head_dim"),
            conv_kernel=keys.count("linear_conv_kernel_dim", least=2, most=64),
        )
        if delta.num_heads % delta.num_key_heads:
            raise keys.refused("linear_num_value_heads", f"it must be a multiple of linear_num_key_heads, {delta.num_key_heads}")
        moe = moe_config(keys, Routing(keys.flag("norm_topk_prob")), shared_expert_size=shared, size_key="moe_intermediate_size")

        def recurs(layer: int) -> bool:
            return (layer + 1) % every != 0

        config = decoder_config(
            keys,
            slides=recurs,
            local_kind="linear_attention",
            partial_rotary=True,
            qkv_bias=bias,
            out_bias=bias,
            moe=moe,
            delta=delta,
        )
        kinds = layer_kinds(keys, config.num_layers, recurs, "linear_attention")
        return replace(config, recurrent_layers=tuple(kind == "linear_attention" for kind in kinds))

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        prefix = f"model.layers.{index}"
        biases = {"qkv_bias": config.qkv_bias, "out_bias": config.out_bias}
        mixer: GatedDeltaNet | Attention
        if config.recurrent_layers[index]:
            mixer = GatedDeltaNet(weights, config, f"{prefix}.linear_attn")
        else:
            qk_norm = QkNorm(offset=self.norm_offset)
            mixer = Attention(weights, config, f"{prefix}.self_attn", index, rope, qk_norm=qk_norm, gated=True, **biases)
        mlp = feed_forward(weights, config, index)
        return PreNormBlock(weights, config, index, rope, attention=mixer, mlp=mlp, norm_offset=self.norm_offset)
