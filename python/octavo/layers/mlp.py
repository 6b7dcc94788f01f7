"""Feed-forward blocks: gated (Shazeer 2020, "GLU Variants Improve Transformer"), and plain."""

from __future__ import annotations

from collections.abc import Callable

from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import CheckpointError
from octavo.layers.linear import Linear
from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["GatedMLP", "PlainMLP", "plain_mlp"]


class GatedMLP:
    """down(act(gate(x)) * up(x)), gate and up computed as one matrix, which `fused` says they are in the file too (`gate_up_proj`).

    Args:
        bias: whether all matrices have biases; `down_bias`: whether the last one has.
    """

    def __init__(
        self,
        weights: Weights,
        prefix: str,
        hidden_size: int,
        intermediate_size: int,
        activation: str,
        *,
        bias: bool = False,
        fused: bool = False,
        down_bias: bool = False,
    ) -> None:
        activations = {
            "silu": weights.ops.silu_and_mul,
            "gelu": weights.ops.gelu_and_mul,
            "gelu_pytorch_tanh": weights.ops.gelu_tanh_and_mul,
        }
        if activation not in activations:
            raise CheckpointError(f"config.json: hidden_act {activation!r} is unknown; known: {', '.join(activations)}")
        self.activate_and_mul = activations[activation]
        parts = {f"{prefix}.gate_proj": intermediate_size, f"{prefix}.up_proj": intermediate_size}
        if fused:
            parts = {f"{prefix}.gate_up_proj": 2 * intermediate_size}
        self.gate_up = Linear(weights, parts, hidden_size, bias=bias)
        self.down = Linear(weights, {f"{prefix}.down_proj": hidden_size}, intermediate_size, bias=bias or down_bias)

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(self.activate_and_mul(self.gate_up(x)))


class PlainMLP:
    """down(act(up(x)))."""

    def __init__(
        self,
        weights: Weights,
        up: str,
        down: str,
        hidden_size: int,
        intermediate_size: int,
        activation: str,
        *,
        bias: bool = False,
        out_size: int | None = None,
    ) -> None:
        self.activate = self.activation(weights, activation)
        self.up = Linear(weights, {up: intermediate_size}, hidden_size, bias=bias)
        self.down = Linear(weights, {down: out_size or hidden_size}, intermediate_size, bias=bias)

    @staticmethod
    def activation(weights: Weights, name: str, key: str = "hidden_act") -> Callable[[Tensor], Tensor]:
        """The function of a name in config.json. Raises `CheckpointError`, naming the key, for an unknown one."""
        ops = weights.ops
        activations = {
            "gelu": ops.gelu,
            "gelu_pytorch_tanh": ops.gelu_tanh,
            "gelu_new": ops.gelu_tanh,
            "quick_gelu": ops.quick_gelu,
            "silu": ops.silu,
            "relu": ops.relu,
            "relu2": ops.relu_squared,
        }
        if name not in activations:
            raise CheckpointError(f"config.json: {key} {name!r} is unknown; known: {', '.join(activations)}")
        return activations[name]

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(self.activate(self.up(x)))


def plain_mlp(weights: Weights, config: ModelConfig, layer: int, *, up: str = "up_proj", down: str = "down_proj") -> PlainMLP:
    """The plain feed-forward block of a layer; `up` and `down` are what the family's files call its matrices."""
    prefix, sizes = f"model.layers.{layer}.mlp", (config.hidden_size, config.intermediate_size)
    return PlainMLP(weights, f"{prefix}.{up}", f"{prefix}.{down}", *sizes, config.activation, bias=config.mlp_bias)
