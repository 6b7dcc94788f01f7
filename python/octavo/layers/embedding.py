"""Token embedding and the output head that may share its table."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.norm import make_norm
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["Embedding", "NormedEmbedding", "OutputHead", "PositionedEmbedding"]

_TABLE = "model.embed_tokens"


class Embedding:
    """[T, E] rows of the table, times `scale`; in models that read pictures a tower's rows in place of placeholders."""

    def __init__(self, weights: Weights, config: ModelConfig, *, scale: float = 1.0) -> None:
        self.ops = weights.ops
        self.weight = weights.embedding(f"{_TABLE}.weight", config.vocab_size, config.hidden_size)
        self.scale = scale
        self.media_levels = config.media_levels if config.reads_media else 0

    def __call__(self, step: Step) -> Tensor:
        x = self.ops.embedding(step, self.weight, self.scale)
        return self.ops.insert_media(step, x, self.media_levels) if self.media_levels else x


class PositionedEmbedding(Embedding):
    """[T, E] rows of the table plus learned rows for the tokens' positions; `offset`: rows of the positions' table before the first."""

    def __init__(self, weights: Weights, config: ModelConfig, *, offset: int = 0) -> None:
        super().__init__(weights, config)
        self.offset = offset
        self.positions = weights.embedding("model.embed_positions.weight", config.max_position_embeddings + offset, config.hidden_size)

    def __call__(self, step: Step) -> Tensor:
        return self.ops.add(super().__call__(step), self.ops.position_embedding(step, self.positions, self.offset))


class NormedEmbedding(Embedding):
    """[T, E] rows of the table, normalised."""

    def __init__(self, weights: Weights, config: ModelConfig) -> None:
        super().__init__(weights, config)
        self.norm = make_norm(weights, config, "model.embed_norm")

    def __call__(self, step: Step) -> Tensor:
        return self.norm(super().__call__(step))


class OutputHead:
    """Logits [L, V] of the tokens that want them. Tied models use the embedding table."""

    def __init__(self, weights: Weights, config: ModelConfig) -> None:
        self.ops = weights.ops
        tied = config.tie_word_embeddings and not weights.has("lm_head.weight")
        self.weight = weights.linear({_TABLE if tied else "lm_head": config.vocab_size}, config.hidden_size)
        self.bias = weights.vector({"lm_head.bias": config.vocab_size}) if config.head_bias else None

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        return self.ops.lm_head(self.ops.select_logits_rows(step, x), self.weight, self.bias)
