"""Llama 4, the text model (Meta 2025): one expert of many beside a shared one, local chunks, every fourth layer global and unrotated."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config, rotating_layers
from octavo.checkpoint.expert_names import StackColumns
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig, PositionScale, Routing
from octavo.layers.attention import Attention, QkNorm
from octavo.layers.block import PreNormBlock
from octavo.layers.moe import feed_forward
from octavo.layers.rotary import position_scale
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    ((r"(.*)\.feed_forward\.router\.(.*)", r"\1.mlp.gate.\2"), (r"(.*)\.feed_forward\.(.*)", r"\1.mlp.\2")),
    paired_rows=True,
    expert_columns=StackColumns.HALVES,
)


class Model(Decoder):
    """Llama 4. Queries of layers that rotate nothing grow with the logarithm of their position (Nakanishi 2025)."""

    defaults: ClassVar = {
        "vocab_size": 202048,
        "hidden_size": 5120,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "num_experts_per_tok": 1,
        "num_experts": 16,
        "interleave_moe_layer_step": 1,
        "use_qk_norm": True,
        "no_rope_layer_interval": 4,
        "attention_chunk_size": 8192,
        "attn_temperature_tuning": True,
        "floor_scale": 8192,
        "attn_scale": 0.1,
    }

    def __init__(self, weights: Weights, config: ModelConfig, num_positions: int) -> None:
        self.query_scale = None
        if config.query_scale is not None:
            floors = np.floor((np.arange(num_positions, dtype=np.float32) + 1) / np.float32(config.query_scale.floor))
            factors = np.log1p(floors) * np.float32(config.query_scale.strength) + 1
            self.query_scale = weights.constant(position_scale(factors, config.head_dim))
        super().__init__(weights, config, num_positions)

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        step, given, bias = keys.count("interleave_moe_layer_step"), keys.value("moe_layers", None), keys.flag("attention_bias")
        sparse = set(keys.counts("moe_layers", [])) if given is not None else None
        rotates, chunked = rotating_layers(keys), keys.optional_count("attention_chunk_size") is not None
        tuned = keys.flag("attn_temperature_tuning")
        scale = PositionScale(keys.positive("floor_scale"), keys.number("attn_scale"))
        moe = moe_config(
            keys,
            Routing(renormalise=False, scoring="sigmoid"),
            shared_expert_size=keys.count("intermediate_size"),
            sparse=lambda layer: (layer + 1) % step == 0 if sparse is None else layer in sparse,
            shared_gate=False,
            weighs_input=True,
        )
        return decoder_config(
            keys,
            slides=lambda layer: chunked and rotates[layer],
            rotates=lambda layer: rotates[layer],
            local_kind="chunked_attention",
            window_key="attention_chunk_size",
            intermediate_size=keys.count("intermediate_size_mlp"),
            qkv_bias=bias,
            out_bias=bias,
            qk_norm=keys.flag("use_qk_norm"),
            query_scale=scale if tuned else None,
            moe=moe,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        attention = Attention(
            weights,
            config,
            f"model.layers.{index}.self_attn",
            index,
            rope,
            qkv_bias=config.qkv_bias,
            out_bias=config.out_bias,
            qk_norm=QkNorm(after_rotation=True, unweighted=True) if config.qk_norm and rope is not None else None,
            chunk=config.windows[index],
            query_scale=self.query_scale if rope is None else None,
        )
        return PreNormBlock(weights, config, index, rope, attention=attention, mlp=feed_forward(weights, config, index))
