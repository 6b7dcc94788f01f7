"""Experts in MXFP4 (OCP Microscaling Formats 1.0), as gpt-oss stores them, read as Q8_0 without loss.

`<stack>_blocks` [X, N, K / 32, 16] has two codes of four bits in a byte, the lower one first; `<stack>_scales` [X, N, K / 32] the power of
two of each 32 of them, plus 127. Doubled, the values of codes are whole numbers up to 12, so a block of Q8_0, whole numbers and a half
float that scales them, holds the same values.
"""

from __future__ import annotations

import re

import numpy as np

from octavo.checkpoint.raw_tensor import RawTensor, check_shape
from octavo.checkpoint.safetensors import SafetensorsFile
from octavo.errors import CheckpointError

__all__ = ["Mxfp4Experts"]

_STACK = re.compile(r"(.*\.mlp\.experts)\.(gate_up|down)_proj_(blocks|scales)")
_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)
_BIAS = 128  # of the exponent of what doubled values are multiplied by
_BLOCK = 32


class Mxfp4Experts:
    """The stacks of a folder, by layer and matrix; gate and up alternate among a stack's rows."""

    def __init__(self) -> None:
        self._stacks: dict[tuple[str, str], dict[str, tuple[SafetensorsFile, str]]] = {}

    def take(self, weights: SafetensorsFile, name: str, stored_name: str) -> bool:
        """Keep the tensor if it is half of a stack; `name`: that of the family."""
        match = _STACK.fullmatch(name)
        if match is not None:
            self._stacks.setdefault((match[1], match[2]), {})[match[3]] = (weights, stored_name)
        return match is not None

    def names(self) -> set[str]:
        """The matrices of all experts."""
        return {
            f"{prefix}.{expert}.{part}_proj.weight"
            for (prefix, matrix), halves in self._stacks.items()
            for expert in range(max(weights.shape(stored)[0] for weights, stored in halves.values()))
            for part in matrix.split("_")
        }

    def tensor(self, name: str, shape: tuple[int, ...] | None) -> RawTensor:
        """Read the matrix of one expert. Raises `CheckpointError` where half of a stack is missing or misshapen."""
        prefix, expert, part, _ = name.rsplit(".", 3)
        matrix = "down" if part == "down_proj" else "gate_up"
        halves = self._stacks[prefix, matrix]
        if halves.keys() != {"blocks", "scales"}:
            raise CheckpointError(f"{name}: of {prefix}.{matrix}_proj_blocks and _scales one is missing; download the model again")
        (blocks, blocks_name), (scales, scales_name) = halves["blocks"], halves["scales"]
        sizes = blocks.shape(blocks_name)
        if len(sizes) != 4 or sizes[3] != _BLOCK // 2 or scales.shape(scales_name) != sizes[:3]:
            raise CheckpointError(f"{blocks.path}: tensor {blocks_name} {list(sizes)} and its scales are not those of MXFP4")
        codes = blocks.codes(blocks_name, int(expert)).reshape(sizes[1:])
        exponents = scales.codes(scales_name, int(expert)).reshape(sizes[1:3])
        if matrix == "gate_up":
            rows = slice(0 if part == "gate_proj" else 1, None, 2)
            codes, exponents = codes[rows], exponents[rows]
        found = (len(codes), sizes[2] * _BLOCK)
        check_shape(blocks.path, name, found, shape)
        return RawTensor(name, found, "Q8_0", _as_q8_0(codes, exponents, f"{scales.path}: tensor {scales_name}"))


def _as_q8_0(codes: np.ndarray, exponents: np.ndarray, what: str) -> np.ndarray:
    """uint8 [N * K / 32 * 34] of codes [N, K / 32, 16] and exponents [N, K / 32]."""
    values = _DOUBLED[np.stack([codes & 15, codes >> 4], axis=-1)].reshape(*exponents.shape, _BLOCK)
    used = values.any(-1)
    factors = np.where(used, np.ldexp(np.float32(1), exponents.astype(np.int32) - _BIAS), 0)
    with np.errstate(over="ignore"):
        halves = factors.astype("<f2")
    if not np.array_equal(halves.astype(np.float32), factors):
        raise CheckpointError(f"{what}: a power of two is beyond those of half floats, 2^-24 to 2^15")
    return np.concatenate([halves[..., None].view(np.uint8), values.view(np.uint8)], axis=-1).reshape(-1)
