"""What all decoder families share: embed, run the layers in turn, normalise, compute logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.embedding import Embedding, OutputHead
from octavo.layers.linear import Linear
from octavo.layers.norm import make_norm
from octavo.layers.weights import Weights
from octavo.models._heads import DenseHead, Head
from octavo.models._rope_tables import rope_tables
from octavo.ops.ops import Step, Tensor

__all__ = ["Decoder", "Layer"]


class Layer(Protocol):
    """One transformer block. `residual` is the running sum to which `x` has not been added yet; None before the first block."""

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]: ...


class Decoder:
    """Token ids in, logits out. A family says how its config is read and how its layers are made, where that differs from here.

    Attributes:
        defaults: what config.json means where it leaves a key out: the defaults of transformers' configuration class.
        aliases: key of config.json -> what the family's files call it.
        norm_offset: added to the weight of the last norm.
        unused: beginnings of the names of tensors that serve other tasks than the one that the model is loaded for.

    Args:
        num_positions: rows of the rotary tables: the context window served.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    norm_offset: ClassVar[float] = 0.0
    makes: ClassVar[str] = "text, vectors"
    unused: tuple[str, ...] = ()

    def __init__(self, weights: Weights, config: ModelConfig, num_positions: int) -> None:
        self.config = config
        self.embed = self.make_embedding(weights, config)
        tables = rope_tables(weights, config, num_positions)
        self.layers = [self.make_layer(weights, config, index, tables[index]) for index in range(config.num_layers)]
        self.norm = make_norm(weights, config, "model.norm", offset=self.norm_offset)
        self.head = OutputHead(weights, config) if config.pooling is None else None
        self.unused = () if config.pooling is None else ("lm_head.", "score.")

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        """Read config.json. Raises `CheckpointError` naming a key that is missing or makes no sense."""
        return decoder_config(keys)

    def make_embedding(self, weights: Weights, config: ModelConfig) -> Embedding:
        """Build what makes rows of token ids."""
        return Embedding(weights, config, scale=config.embedding_scale)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> Layer:
        """Build block `index`; `rope` is its rotary table, None where positions are not rotated."""
        return PreNormBlock(weights, config, index, rope)

    def make_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        """Build what makes a classifier's logits, or a reward, of a sequence's pooled hidden state."""
        if weights.has("score.0.weight"):  # Qwen 2.5's reward models
            return DenseHead(weights, "score.0", "score.2", config.hidden_size, num_labels, weights.ops.relu)
        return Linear(weights, {"score": num_labels}, config.hidden_size, bias=weights.has("score.bias"))

    def make_token_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        """Build what makes a classifier's logits of each token's hidden state."""
        return self.make_classifier(weights, config, num_labels)

    def hidden(self, step: Step) -> Tensor:
        """Return the hidden states [T, E] of the step's tokens, normalised."""
        x, residual = self.embed(step), None
        for layer in self.layers:
            x, residual = layer(x, residual, step)
        return self.norm.add(x, residual)[0]

    def outputs(self, step: Step) -> dict[str, Tensor]:
        """What the step makes, by name: "logits"."""
        return {"logits": self.forward(step)}

    def forward(self, step: Step) -> Tensor:
        """Return the logits [L, V] of the step. Only of a model that makes tokens."""
        assert self.head is not None
        logits = self.head(self.hidden(step), step)
        ops, scale, cap = self.embed.ops, self.config.logits_scale, self.config.logits_softcap
        if scale != 1.0:
            logits = ops.scale(logits, scale)
        return ops.softcap(logits, cap) if cap else logits
