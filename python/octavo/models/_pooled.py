"""A model that makes vectors: a family's body, the pooling of its hidden states, and what follows it."""

from __future__ import annotations

from typing import Protocol

from octavo.checkpoint.model_config import ModelConfig
from octavo.checkpoint.pooling_config import DenseConfig, PoolingConfig
from octavo.layers.linear import Linear
from octavo.layers.weights import Weights
from octavo.models._heads import Head
from octavo.ops.ops import Ops, Step, Tensor

__all__ = ["Body", "PooledModel"]


class Body(Protocol):
    """What an encoder and a decoder have in common. `unused`: see `Encoder`."""

    unused: tuple[str, ...]

    def hidden(self, step: Step) -> Tensor: ...
    def make_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head: ...
    def make_token_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head: ...


class PooledModel:
    """Outputs "tokens" [T, C], a vector for each token, and "pooled" [R, C'], one for each sequence of the step.

    A token classifier has logits as "tokens" and no "pooled"; the others have the hidden states as "tokens".
    """

    def __init__(self, weights: Weights, config: ModelConfig, pooling: PoolingConfig, body: Body) -> None:
        self.ops: Ops = weights.ops
        self.body = body
        self.unused = body.unused
        self.kind = pooling.kind
        self.token_head = self.head = None
        num_labels = len(pooling.labels)
        if pooling.task == "token_classify":
            self.token_head = body.make_token_classifier(weights, config, num_labels)
        elif pooling.task == "classify":
            self.head = body.make_classifier(weights, config, num_labels)
        else:
            self.head = _Dense(weights, pooling.dense)

    def outputs(self, step: Step) -> dict[str, Tensor]:
        """The vectors of a step, by name."""
        hidden = self.body.hidden(step)
        if self.token_head is not None:
            return {"tokens": self.token_head(hidden)}
        assert self.head is not None
        return {"tokens": hidden, "pooled": self.head(self.ops.pool(step, hidden, self.kind))}


class _Dense:
    """Linear layers one after the other."""

    def __init__(self, weights: Weights, layers: tuple[DenseConfig, ...]) -> None:
        self.ops = weights.ops
        self.layers = [
            (Linear(weights, {f"{layer.prefix}.linear": layer.out_features}, layer.in_features, bias=layer.bias), layer.activation)
            for layer in layers
        ]

    def __call__(self, x: Tensor) -> Tensor:
        for linear, activation in self.layers:
            x = linear(x)
            x = self.ops.tanh(x) if activation == "tanh" else x
        return x
