"""Mixture of experts: a router, gated feed-forward blocks of which each token passes through a few, perhaps one that all share."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig, MoeConfig
from octavo.layers.linear import Linear
from octavo.layers.mlp import GatedMLP
from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["MoeMLP", "feed_forward"]


class MoeMLP:
    """sum of weight * expert(x) over the experts that the router chooses, + (sigmoid(gate(x)) *) shared_expert(x) where there is one.

    Args:
        prefix: checkpoint name of the block, e.g. `model.layers.0.mlp`.
        activation: of every expert, "silu" or "gelu_pytorch_tanh".
    """

    def __init__(self, weights: Weights, prefix: str, hidden_size: int, moe: MoeConfig, activation: str) -> None:
        self.ops = weights.ops
        self.router = Linear(weights, {f"{prefix}.gate": moe.num_experts}, hidden_size)
        self.experts = weights.experts(f"{prefix}.experts", moe.num_experts, hidden_size, moe.expert_size)
        self.bias = None
        if moe.correction_bias:
            self.bias = weights.vector({f"{prefix}.gate.e_score_correction_bias": moe.num_experts})
        self.moe = moe
        self.activation = activation
        self.shared = self.shared_gate = None
        if moe.shared_expert_size is not None:
            self.shared = GatedMLP(weights, f"{prefix}.shared_expert", hidden_size, moe.shared_expert_size, activation)
        if moe.shared_expert_size is not None and moe.shared_gate:
            self.shared_gate = Linear(weights, {f"{prefix}.shared_expert_gate": 1}, hidden_size)

    def __call__(self, x: Tensor) -> Tensor:
        ids, weights = self.ops.route(self.router(x), self.bias, top_k=self.moe.top_k, routing=self.moe.routing)
        y = self.ops.experts(x, ids, weights, self.experts, activation=self.activation, weighs_input=self.moe.weighs_input)
        if self.shared is None:
            return y
        shared = self.shared(x)
        return self.ops.add(y, shared if self.shared_gate is None else self.ops.sigmoid_gate(shared, self.shared_gate(x)))


def feed_forward(weights: Weights, config: ModelConfig, layer: int) -> GatedMLP | MoeMLP:
    """The feed-forward block of a layer: experts where the configuration says so."""
    prefix = f"model.layers.{layer}.mlp"
    if config.moe and config.moe.sparse_layers[layer]:
        return MoeMLP(weights, prefix, config.hidden_size, config.moe, config.activation)
    return GatedMLP(weights, prefix, config.hidden_size, config.intermediate_size, config.activation, bias=config.mlp_bias)
