"""Experts of a mixture under one naming, whichever way a file stores them: `<layer>.mlp.experts.<n>.<gate|up|down>_proj.weight`.

A gate that a file joins behind what it gates (`up_gate_proj`) becomes a matrix of its own, too.

On disk they are one matrix per expert (the layout of checkpoints on the hub), or one stack [X, ...] per layer (transformers 5's
modules, gate and up as one matrix; GGUF). A stack is read where it lies: each expert is a run of its bytes. Some families' stacks hold
matrices [in, out] instead, with gate and up in halves of the columns (Llama 4) or alternating (gpt-oss): `StackColumns`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from math import prod

from octavo.checkpoint.raw_tensor import num_bytes

__all__ = ["StackColumns", "TensorPart", "tensor_parts"]

_CORRECTION_BIAS = ".gate.e_score_correction_bias"
_UP_GATE = re.compile(r"(.*\.mlp)\.up_gate_proj\.(\w+)")
_STACK = re.compile(r"(.*\.mlp\.experts)\.(gate_up|gate|up|down)_proj(?:\.weight)?")


class StackColumns(Enum):
    """Where gate and up lie among the columns of an expert's matrix [in, out]."""

    HALVES = "halves"
    ALTERNATING = "alternating"


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A tensor, and where it lies in a stored one.

    Attributes:
        stored_name: of the tensor in the file.
        first: values of the stored tensor before this one, whole rows.
        columns: of a matrix [in, out] that lies there, those that are this one's rows, and its shape; None: the values as they lie.
    """

    name: str
    shape: tuple[int, ...]
    stored_name: str
    first: int = 0
    columns: tuple[slice, tuple[int, int]] | None = None

    def bytes_in(self, format_name: str) -> tuple[int, int]:
        """(offset, size) in the stored tensor. Raises ValueError when rows are not whole blocks."""
        return num_bytes(format_name, (self.first,)), num_bytes(format_name, self.columns[1] if self.columns else self.shape)


def tensor_parts(
    name: str, shape: tuple[int, ...], stored_name: str | None = None, columns: StackColumns | None = None
) -> list[TensorPart]:
    """The tensors that a stored one holds: the experts of a stack, otherwise itself.

    Args:
        stored_name: where the file names it otherwise.
        columns: where a stack's matrices are [in, out].
    """
    stored_name = stored_name or name
    if name.endswith(_CORRECTION_BIAS) and len(shape) == 2 and shape[0] == 1:  # ERNIE keeps a dimension for groups
        return [TensorPart(name, shape[1:], stored_name)]
    fused = _UP_GATE.fullmatch(name)
    if fused and shape[0] % 2 == 0:
        part = (shape[0] // 2, *shape[1:])
        return [
            TensorPart(f"{fused[1]}.{matrix}_proj.{fused[2]}", part, stored_name, index * prod(part))
            for index, matrix in enumerate(("up", "gate"))
        ]
    stack = _STACK.fullmatch(name)
    if columns and stack and len(shape) == 3:
        return _turned_parts(stack.group(1), stack.group(2).split("_"), shape, stored_name, columns)
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


def _turned_parts(prefix: str, matrices: list[str], shape: tuple[int, ...], stored_name: str, columns: StackColumns) -> list[TensorPart]:
    num_experts, num_in, num_out = shape
    rows, count = num_out // len(matrices), len(matrices)
    halves = columns is StackColumns.HALVES
    places = [slice(index * rows, (index + 1) * rows) if halves else slice(index, None, count) for index in range(count)]
    return [
        TensorPart(
            f"{prefix}.{expert}.{matrix}_proj.weight", (rows, num_in), stored_name, expert * num_in * num_out, (place, (num_in, num_out))
        )
        for expert in range(num_experts)
        for matrix, place in zip(matrices, places, strict=True)
    ]
