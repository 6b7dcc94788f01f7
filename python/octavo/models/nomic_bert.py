"""Nomic Embed (Nussbaum et al. 2024): BERT with rotary positions, gated feed-forward and no biases but the norms'."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.encoder_config import encoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.checkpoint.rope_config import rope_config
from octavo.layers.encoder import EncoderEmbedding, GatedEncoderBlock
from octavo.layers.weights import Weights
from octavo.models import bert
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

_PARTS = {
    "attn.Wqkv": "self_attn.qkv_proj",
    "attn.out_proj": "self_attn.o_proj",
    "norm1": "post_attention_layernorm",
    "norm2": "post_feedforward_layernorm",
    "mlp.fc11": "mlp.up_proj",
    "mlp.fc12": "mlp.gate_proj",
    "mlp.fc2": "mlp.down_proj",
}
STORED_NAMES = StoredNames(name_patterns(r"(?:\w+\.)?encoder\.layers", _PARTS, {**bert.BERT_TOP, r"(?:\w+\.)?emb_ln": "model.embed_norm"}))


class Model(bert.Model):
    """Nomic BERT, under the names of the hub's files."""

    defaults: ClassVar = {
        **bert.Model.defaults,
        "vocab_size": 30528,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rope_theta": 1000.0,
    }
    aliases: ClassVar = {
        "hidden_size": "n_embd",
        "intermediate_size": "n_inner",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
        "layer_norm_eps": "layer_norm_epsilon",
        "hidden_act": "activation_function",
        "rope_theta": "rotary_emb_base",
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        for key in ("prenorm", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "rotary_emb_interleaved"):
            if keys.flag(key, False):
                raise keys.refused(key, "Nomic Embed's text models do not have it, and others are not supported")
        if keys.number("rotary_emb_fraction", 1.0) != 1.0:
            raise keys.refused("rotary_emb_fraction", "1 is supported")
        activation = keys.text("hidden_act")
        rope = rope_config(keys, "full_attention", keys.count("hidden_size") // keys.count("num_attention_heads"))
        return encoder_config(
            keys,
            ropes=(rope,) * keys.count("num_hidden_layers", most=4096),
            num_token_types=keys.count("type_vocab_size", least=0),
            activation="silu" if activation == "swiglu" else activation,
            qkv_bias=False,
            out_bias=False,
            mlp_bias=False,
        )

    def make_embedding(self, weights: Weights, config: ModelConfig) -> EncoderEmbedding:
        return EncoderEmbedding(weights, config, positions=False)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> GatedEncoderBlock:
        return GatedEncoderBlock(weights, config, index, rope)
