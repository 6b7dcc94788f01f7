"""How a layer gets its weights: by name and expected shape, already placed where the executor computes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from octavo.ops.cache import CacheSpec
from octavo.ops.ops import Cache, Ops, State

__all__ = ["Weights"]


class Weights(Protocol):
    """Weights of one model on one executor.

    Every method raises `CheckpointError` naming the tensor when it is missing or its shape is not the expected one.
    """

    ops: Ops

    def linear(self, parts: dict[str, int], in_features: int) -> Any:
        """A matrix [sum of rows, in_features]: the linear layers `name -> rows` stacked in order (fused q, k, v); no `.weight` in names."""
        ...

    def experts(self, prefix: str, num_experts: int, hidden_size: int, expert_size: int) -> Any:
        """All of a mixture's experts, one handle: `<prefix>.<index>.{gate,up,down}_proj`, each [F, E], [F, E] and [E, F]."""
        ...

    def embedding(self, name: str, num_rows: int, num_cols: int) -> Any:
        """A table [num_rows, num_cols] whose rows are looked up."""
        ...

    def vector(self, parts: dict[str, int], offset: float = 0.0) -> Any:
        """float32 [sum of sizes]: the tensors `name -> size` one after the other, offset added."""
        ...

    def values(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A tensor of the checkpoint on the host, for a layer that makes a `constant` of it."""
        ...

    def constant(self, values: NDArray[np.float32]) -> Any:
        """A computed table, such as rotary cosines and sines."""
        ...

    def table(self, values: NDArray[np.float32]) -> Any:
        """A computed table [rows, cols] whose rows are looked up."""
        ...

    def cache(self, spec: CacheSpec) -> Cache:
        """The cache of one more layer."""
        ...

    def state(self, num_elements: int) -> State:
        """The state of one more layer: float32 for each running sequence."""
        ...

    def has(self, name: str) -> bool:
        """Whether the checkpoint holds this tensor."""
        ...
