"""RoBERTa (Liu et al. 2019): BERT whose table of positions begins behind the padding id, with a head of its own."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.encoder_config import encoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.encoder import EncoderEmbedding
from octavo.layers.weights import Weights
from octavo.models import bert
from octavo.models._encoder import Encoder
from octavo.models._heads import DenseHead, Head

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = bert.STORED_NAMES


class Model(Encoder):
    """RoBERTa."""

    defaults: ClassVar = {**bert.Model.defaults, "vocab_size": 50265, "pad_token_id": 1}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        types = keys.count("type_vocab_size", least=0)
        return encoder_config(keys, position_offset=keys.count("pad_token_id", least=0) + 1, num_token_types=types)

    def make_embedding(self, weights: Weights, config: ModelConfig) -> EncoderEmbedding:
        return EncoderEmbedding(weights, config, position_offset=config.position_offset)

    def make_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        return DenseHead(weights, "classifier.dense", "classifier.out_proj", config.hidden_size, num_labels, weights.ops.tanh)
