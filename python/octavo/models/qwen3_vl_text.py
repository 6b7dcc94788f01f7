"""Qwen3-VL's decoder (Bai et al. 2025): Qwen3 with positions of three axes by turns, and a tower's features in several layers."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import QkNorm
from octavo.layers.block import PreNormBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Step, Tensor

__all__ = ["Model"]


class Model(Decoder):
    """Qwen3-VL."""

    defaults: ClassVar = {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(keys, sections=(24, 20, 20), by_turns=True, default_theta=5e5, qkv_bias=bias, out_bias=bias)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, qk_norm=QkNorm())

    def hidden(self, step: Step) -> Tensor:
        """Return the hidden states [T, E] of the step's tokens, normalised."""
        x, residual = self.embed(step), None
        for index, layer in enumerate(self.layers):
            x, residual = layer(x, residual, step)
            if index + 1 < self.embed.media_levels:
                x = self.embed.ops.add_media(step, x, index + 1)
        return self.norm.add(x, residual)[0]
