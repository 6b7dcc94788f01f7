"""The order of a head's rows in q and k: rotary kernels want halves, some files hold interleaved pairs.

A rotation turns two columns of a head by one angle: i and i + d / 2 in halves, 2 i and 2 i + 1 in pairs. Attention sees sums over a head
only, so putting the rows of q and of k into the other order changes no result. A matrix of q, k and v in one may have its heads grouped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from octavo.errors import CheckpointError

__all__ = ["rows_by_kind", "rows_in_halves"]


def rows_in_halves(
    data: NDArray[np.uint8], shape: tuple[int, ...], num_heads: int, *, rotary_dim: int | None = None, what: str
) -> NDArray[np.uint8]:
    """Reorder each head's rows from pairs (0, d / 2, 1, d / 2 + 1, ...) to halves (0 ... d / 2 - 1, d / 2 ... d - 1); a copy.

    Args:
        data: uint8, the rows one after the other, in any format.
        shape: [rows, ...].
        rotary_dim: rows of a head that are rotated, its first d; the whole head by default.
        what: names the tensor in messages.

    Raises:
        CheckpointError: rows that the heads cannot share.
    """
    head_dim = shape[0] // num_heads if num_heads else 0
    rotary_dim = head_dim if rotary_dim is None else rotary_dim
    if head_dim == 0 or shape[0] % num_heads or rotary_dim % 2 or rotary_dim > head_dim:
        raise CheckpointError(f"{what} has {shape[0]} rows, which {num_heads} heads cannot share")
    heads = data.reshape(num_heads, head_dim, -1)
    order = np.concatenate([np.arange(0, rotary_dim, 2), np.arange(1, rotary_dim, 2), np.arange(rotary_dim, head_dim)])
    return np.ascontiguousarray(heads[:, order]).reshape(-1)


def rows_by_kind(data: NDArray[np.uint8], shape: tuple[int, ...], num_heads: int, num_kv_heads: int, *, what: str) -> NDArray[np.uint8]:
    """Reorder the rows of a fused q, k and v from groups (of each key/value head its queries, keys, values) to all q, all k, all v; a copy.

    Args:
        data: uint8, the rows one after the other, in any format.
        shape: [rows, ...].
        what: names the tensor in messages.

    Raises:
        CheckpointError: rows that the heads cannot share.
    """
    heads_per_group = num_heads // num_kv_heads + 2
    if shape[0] % (num_kv_heads * heads_per_group):
        raise CheckpointError(f"{what} has {shape[0]} rows, which {num_heads} heads and {num_kv_heads} of keys and values cannot share")
    groups = data.reshape(num_kv_heads, heads_per_group, -1)
    kinds = (groups[:, :-2], groups[:, -2], groups[:, -1])
    return np.concatenate([kind.reshape(-1) for kind in kinds])
