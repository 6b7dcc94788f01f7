"""DistilBERT (Sanh et al. 2019): BERT of half as many layers, without token types."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.encoder_config import encoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.weights import Weights
from octavo.models import bert
from octavo.models._encoder import Encoder
from octavo.models._heads import DenseHead, Head

__all__ = ["STORED_NAMES", "Model"]

_PARTS = {
    "attention.q_lin": "self_attn.q_proj",
    "attention.k_lin": "self_attn.k_proj",
    "attention.v_lin": "self_attn.v_proj",
    "attention.out_lin": "self_attn.o_proj",
    "sa_layer_norm": "post_attention_layernorm",
    "ffn.lin1": "mlp.up_proj",
    "ffn.lin2": "mlp.down_proj",
    "output_layer_norm": "post_feedforward_layernorm",
}
STORED_NAMES = StoredNames(name_patterns(r"(?:\w+\.)?transformer\.layer", _PARTS, bert.BERT_TOP))


class Model(Encoder):
    """DistilBERT."""

    defaults: ClassVar = {
        "vocab_size": 30522,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
    }
    aliases: ClassVar = {
        "hidden_size": "dim",
        "intermediate_size": "hidden_dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "hidden_act": "activation",
    }
    unused: ClassVar = (*Encoder.unused, "pre_classifier.", "vocab_")

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        return encoder_config(keys, norm_eps=1e-12)

    def make_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        return DenseHead(weights, "pre_classifier", "classifier", config.hidden_size, num_labels, weights.ops.relu)
