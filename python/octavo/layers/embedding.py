"""Token embedding and the output head that may share its table."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["Embedding", "OutputHead"]

_TABLE = "model.embed_tokens"


class Embedding:
    """[T, E] rows of the table, times `scale`."""

    def __init__(self, weights: Weights, config: ModelConfig, *, scale: float = 1.0) -> None:
        self.ops = weights.ops
        self.weight = weights.embedding(f"{_TABLE}.weight", config.vocab_size, config.hidden_size)
        self.scale = scale

    def __call__(self, step: Step) -> Tensor:
        return self.ops.embedding(step, self.weight, self.scale)


class OutputHead:
    """Logits [L, V] of the tokens that want them. Tied models use the embedding table."""

    def __init__(self, weights: Weights, config: ModelConfig) -> None:
        self.ops = weights.ops
        tied = config.tie_word_embeddings and not weights.has("lm_head.weight")
        self.weight = weights.linear({_TABLE if tied else "lm_head": config.vocab_size}, config.hidden_size)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        return self.ops.lm_head(self.ops.select_logits_rows(step, x), self.weight)
