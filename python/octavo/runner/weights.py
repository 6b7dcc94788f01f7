"""A checkpoint's tensors, checked against what the model asks for, handed to the executor's placement."""

from __future__ import annotations

from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import dequantize
from octavo.checkpoint import Checkpoint, RawTensor
from octavo.checkpoint.raw_linear import LinearMethod, RawLinear, StoredMethod
from octavo.errors import CheckpointError
from octavo.ops.cache import CacheSpec
from octavo.ops.ops import Cache, Ops, State

__all__ = ["CheckpointWeights", "Placement"]

# Buffers that some checkpoints carry and that are computed here instead.
_COMPUTED = ("rotary_emb.inv_freq", "masked_bias", "attn.bias", "attention.bias", "position_ids")


class Placement(Protocol):
    """Puts weights where an executor computes, in the form its ops want."""

    def linear(self, parts: list[RawLinear]) -> Any:
        """Matrices [rows, cols] of equal cols, stacked along rows."""
        ...

    def experts(self, experts: list[tuple[Any, Any]]) -> Any:
        """(gate_up, down) of each expert, both made by `linear`, as one handle."""
        ...

    def embedding(self, table: RawTensor) -> Any:
        """A table [rows, cols]."""
        ...

    def array(self, values: NDArray[np.float32]) -> Any:
        """A float32 array."""
        ...


@runtime_checkable
class RandomPlacement(Protocol):
    """A placement that makes matrices up where they are used, for checkpoints that make them up anyway."""

    def random_linear(self, names: tuple[str, ...], rows: int, cols: int) -> Any:
        """A matrix that the names decide."""
        ...

    def random_embedding(self, name: str, rows: int, cols: int) -> Any:
        """A table that the name decides."""
        ...


class CheckpointWeights:
    """`layers.weights.Weights` over a checkpoint. Call `finish` once the model is built."""

    def __init__(self, checkpoint: Checkpoint, placement: Placement, ops: Ops) -> None:
        self.ops = ops
        self._method: LinearMethod = StoredMethod()
        self._checkpoint = checkpoint
        self._placement = placement
        self._names = checkpoint.names()
        self._random = placement if self._names is None and isinstance(placement, RandomPlacement) else None
        self._used: set[str] = set()
        self._linears: dict[tuple[str, ...], Any] = {}

    def linear(self, parts: dict[str, int], in_features: int) -> Any:
        """See `Weights.linear`. A matrix that is asked for twice is placed once."""
        key = tuple(parts)
        if key not in self._linears and self._random:
            self._linears[key] = self._random.random_linear(key, sum(parts.values()), in_features)
        elif key not in self._linears:
            raws = [self._method.read(self._take, name, (rows, in_features)) for name, rows in parts.items()]
            self._linears[key] = self._placement.linear(raws)
        return self._linears[key]

    def experts(self, prefix: str, num_experts: int, hidden_size: int, expert_size: int) -> Any:
        """See `Weights.experts`."""
        experts = []
        for index in range(num_experts):
            gate_up = {f"{prefix}.{index}.{part}_proj": expert_size for part in ("gate", "up")}
            down = {f"{prefix}.{index}.down_proj": hidden_size}
            experts.append((self.linear(gate_up, hidden_size), self.linear(down, expert_size)))
        return self._placement.experts(experts)

    def embedding(self, name: str, num_rows: int, num_cols: int) -> Any:
        """See `Weights.embedding`."""
        if self._random:
            return self._random.random_embedding(name, num_rows, num_cols)
        return self._placement.embedding(self._take(name, (num_rows, num_cols)))

    def vector(self, parts: dict[str, int], offset: float = 0.0) -> Any:
        """See `Weights.vector`."""
        raws = [self._take(name, (size,)) for name, size in parts.items()]
        values = np.concatenate([dequantize(raw.data, raw.format, raw.shape[0]) for raw in raws])
        return self._placement.array(values + np.float32(offset))

    def values(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """See `Weights.values`."""
        raw = self._take(name, shape)
        return dequantize(raw.data, raw.format, prod(shape)).reshape(shape)

    def constant(self, values: NDArray[np.float32]) -> Any:
        """See `Weights.constant`."""
        return self._placement.array(np.ascontiguousarray(values, dtype=np.float32))

    def table(self, values: NDArray[np.float32]) -> Any:
        """See `Weights.table`."""
        data = np.ascontiguousarray(values, dtype=np.float32).view(np.uint8).reshape(-1)
        return self._placement.embedding(RawTensor("computed", values.shape, "F32", data))

    def cache(self, spec: CacheSpec) -> Cache:
        """See `Weights.cache`."""
        return self.ops.cache(spec)

    def state(self, num_elements: int) -> State:
        """See `Weights.state`."""
        return self.ops.state(num_elements)

    def has(self, name: str) -> bool:
        """See `Weights.has`."""
        return self._names is not None and name in self._names

    def finish(self, unused: tuple[str, ...] = ()) -> None:
        """Raise `CheckpointError` listing the checkpoint's tensors that no layer asked for.

        Args:
            unused: beginnings of names that another task than this one would ask for.
        """
        left = (self._names or set()) - self._used
        unexpected = sorted(name for name in left if not name.endswith(_COMPUTED) and not name.startswith(unused))
        if unexpected:
            listed = ", ".join(unexpected[:5]) + (f" and {len(unexpected) - 5} more" if len(unexpected) > 5 else "")
            raise CheckpointError(
                f"{self._checkpoint.path}: tensors that a {self._checkpoint.config.get('model_type')} model does not have: {listed}; "
                "config.json and weights do not belong together, or this variant is not supported"
            )

    def _take(self, name: str, shape: tuple[int, ...] | None) -> RawTensor:
        self._used.add(name)
        return self._checkpoint.tensor(name, shape)
