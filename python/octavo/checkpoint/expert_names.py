"""Experts of a mixture under one naming, whichever way a file stores them: `<layer>.mlp.experts.<n>.<gate|up|down>_proj.weight`.

On disk they are one matrix per expert (the layout of checkpoints on the hub), or one stack [X, ...] per layer (transformers 5's
modules, gate and up as one matrix; GGUF). A stack is read where it lies: each expert is a run of its bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from octavo.checkpoint.raw_tensor import num_bytes

__all__ = ["TensorPart", "tensor_parts"]

_STACK = re.compile(r"(.*\.mlp\.experts)\.(gate_up|gate|up|down)_proj(?:\.weight)?")


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A tensor, and where it lies in a stored one.

    Attributes:
        stored_name: of the tensor in the file.
        first: values of the stored tensor before this one, whole rows.
    """

    name: str
    shape: tuple[int, ...]
    stored_name: str
    first: int = 0

    def bytes_in(self, format_name: str) -> tuple[int, int]:
        """(offset, size) in the stored tensor. Raises ValueError when rows are not whole blocks."""
        return num_bytes(format_name, (self.first,)), num_bytes(format_name, self.shape)


def tensor_parts(name: str, shape: tuple[int, ...], stored_name: str | None = None) -> list[TensorPart]:
    """The tensors that a stored one holds: the experts of a stack, otherwise itself. `stored_name`: where the file names it otherwise."""
    stored_name = stored_name or name
    stack = _STACK.fullmatch(name)
    matrices = stack.group(2).split("_") if stack else []
    if stack is None or len(shape) != 3 or shape[1] % len(matrices):
        return [TensorPart(name, shape, stored_name)]
    prefix = stack.group(1)
    part = (shape[1] // len(matrices), shape[2])
    return [
        TensorPart(f"{prefix}.{expert}.{matrix}_proj.weight", part, stored_name, (expert * len(matrices) + index) * prod(part))
        for expert in range(shape[0])
        for index, matrix in enumerate(matrices)
    ]
