"""What all decoder families share: embed, run the layers in turn, normalise, compute logits."""

from __future__ import annotations

from typing import ClassVar, Protocol

from octavo.checkpoint.model_config import ModelConfig, RopeConfig
from octavo.kernels.ops import Step, Tensor
from octavo.layers.embedding import Embedding, OutputHead
from octavo.layers.norm import RMSNorm
from octavo.layers.rotary import rope_table
from octavo.layers.weights import Weights

__all__ = ["Decoder", "Layer"]


class Layer(Protocol):
    """One transformer block. `residual` is the running sum to which `x` has not been added yet; None before the first block."""

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]: ...


class Decoder:
    """Token ids in, logits out. A family sets `norm_offset`, says how its layers are made, and scales its embeddings if it does.

    Args:
        num_positions: rows of the rotary tables: the context window served.
    """

    norm_offset: ClassVar[float] = 0.0

    def __init__(self, weights: Weights, config: ModelConfig, num_positions: int) -> None:
        self.config = config
        self.embed = Embedding(weights, config, scale=self.embedding_scale(config))
        tables = _rope_tables(weights, config, num_positions)
        self.layers = [self.make_layer(weights, config, index, tables[index]) for index in range(config.num_layers)]
        self.norm = RMSNorm(weights, "model.norm", config.hidden_size, config.rms_norm_eps, offset=self.norm_offset)
        self.head = OutputHead(weights, config)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> Layer:
        """Build block `index`; `rope` is its rotary table."""
        raise TypeError(f"{type(self).__name__} does not say how its layers are made")

    def embedding_scale(self, config: ModelConfig) -> float:
        """Factor of the embeddings."""
        return 1.0

    def forward(self, step: Step) -> Tensor:
        """Return the logits [L, V] of the step."""
        x, residual = self.embed(step), None
        for layer in self.layers:
            x, residual = layer(x, residual, step)
        x, _ = self.norm.add(x, residual)
        return self.head(x, step)


def _rope_tables(weights: Weights, config: ModelConfig, num_positions: int) -> list[Tensor]:
    """One table per layer; layers with equal settings share it."""
    tables: list[tuple[RopeConfig, Tensor]] = []
    for rope in config.ropes:
        if not any(rope == known for known, _ in tables):
            tables.append((rope, weights.constant(rope_table(rope, config.head_dim, num_positions))))
    return [next(table for known, table in tables if known == rope) for rope in config.ropes]
