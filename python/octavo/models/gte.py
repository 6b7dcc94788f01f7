"""GTE v1.5 and multilingual (Zhang et al. 2024, "mGTE"): BERT with rotary positions and gated feed-forward."""

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
    "attention.qkv_proj": "self_attn.qkv_proj",
    "attention.o_proj": "self_attn.o_proj",
    "attn_ln": "post_attention_layernorm",
    "mlp_ln": "post_feedforward_layernorm",
}
STORED_NAMES = StoredNames(name_patterns(r"(?:\w+\.)?encoder\.layer", _PARTS, bert.BERT_TOP))


class Model(bert.Model):
    """GTE."""

    defaults: ClassVar = {
        **bert.Model.defaults,
        "vocab_size": 250048,
        "max_position_embeddings": 8192,
        "type_vocab_size": 1,
        "rope_theta": 160000.0,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        rope = rope_config(keys, "full_attention", keys.count("hidden_size") // keys.count("num_attention_heads"))
        return encoder_config(
            keys,
            ropes=(rope,) * keys.count("num_hidden_layers", most=4096),
            num_token_types=keys.count("type_vocab_size", least=0),
        )

    def make_embedding(self, weights: Weights, config: ModelConfig) -> EncoderEmbedding:
        return EncoderEmbedding(weights, config, positions=False)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> GatedEncoderBlock:
        return GatedEncoderBlock(weights, config, index, rope, down_bias=True)
