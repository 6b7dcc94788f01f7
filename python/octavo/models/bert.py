"""BERT (Devlin et al. 2018) and the sentence encoders made of it: MiniLM, E5, BGE, GTE's first."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.weights import Weights
from octavo.models._encoder import Encoder
from octavo.models._heads import DenseHead, Head

__all__ = ["BERT_PARTS", "BERT_TOP", "STORED_NAMES", "Model"]

BERT_PARTS = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.o_proj",
    "attention.output.LayerNorm": "post_attention_layernorm",
    "intermediate.dense": "mlp.up_proj",
    "output.dense": "mlp.down_proj",
    "output.LayerNorm": "post_feedforward_layernorm",
}
BERT_TOP = {
    r"(?:\w+\.)?embeddings\.word_embeddings": "model.embed_tokens",
    r"(?:\w+\.)?embeddings\.position_embeddings": "model.embed_positions",
    r"(?:\w+\.)?embeddings\.token_type_embeddings": "model.embed_types",
    r"(?:\w+\.)?embeddings\.LayerNorm": "model.embed_norm",
    r"(?:\w+\.)?pooler\.dense": "pooler.dense",
}
STORED_NAMES = StoredNames(name_patterns(r"(?:\w+\.)?encoder\.layer", BERT_PARTS, BERT_TOP))


class Model(Encoder):
    """BERT."""

    defaults: ClassVar = {
        "vocab_size": 30522,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }

    def make_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        return DenseHead(weights, "pooler.dense", "classifier", config.hidden_size, num_labels, weights.ops.tanh)
