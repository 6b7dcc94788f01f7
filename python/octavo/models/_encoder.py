"""What all encoder families share: embed, run the layers in turn. Every token sees the whole text, so nothing is cached or cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.encoder_config import encoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.encoder import EncoderBlock, EncoderEmbedding
from octavo.layers.linear import Linear
from octavo.layers.weights import Weights
from octavo.models._heads import Head
from octavo.models._rope_tables import rope_tables
from octavo.ops.ops import Step, Tensor

__all__ = ["Encoder", "EncoderLayer"]


class EncoderLayer(Protocol):
    """One transformer block."""

    def __call__(self, x: Tensor, step: Step) -> Tensor: ...


class Encoder:
    """Token ids in, hidden states out. A family says how its config is read and how its parts are made, where that differs from here.

    Attributes:
        defaults, aliases: see `Decoder`.
        unused: beginnings of the names of tensors that serve other tasks than the one that the model is loaded for.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    unused: ClassVar[tuple[str, ...]] = ("pooler.", "classifier.", "cls.", "lm_head.", "head.")
    makes: ClassVar[str] = "vectors"

    def __init__(self, weights: Weights, config: ModelConfig, num_positions: int) -> None:
        self.config = config
        self.embed = self.make_embedding(weights, config)
        tables = rope_tables(weights, config, num_positions)
        self.layers = [self.make_layer(weights, config, index, tables[index]) for index in range(config.num_layers)]

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        """Read config.json. Raises `CheckpointError` naming a key that is missing or makes no sense."""
        return encoder_config(keys, num_token_types=keys.count("type_vocab_size", least=0))

    def make_embedding(self, weights: Weights, config: ModelConfig) -> EncoderEmbedding:
        """Build what makes rows of token ids."""
        return EncoderEmbedding(weights, config)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> EncoderLayer:
        """Build block `index`."""
        return EncoderBlock(weights, config, index, rope)

    def make_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        """Build what makes logits of a sequence's pooled hidden state."""
        return Linear(weights, {"classifier": num_labels}, config.hidden_size, bias=True)

    def make_token_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        """Build what makes logits of each token's hidden state."""
        return Linear(weights, {"classifier": num_labels}, config.hidden_size, bias=True)

    def hidden(self, step: Step) -> Tensor:
        """Return the hidden states [T, E] of the step's tokens."""
        x = self.embed(step)
        for layer in self.layers:
            x = layer(x, step)
        return x
