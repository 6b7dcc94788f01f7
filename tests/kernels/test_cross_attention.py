"""cross_attention over what an encoder made, against the reference in torch, on every instruction set; its bits do not depend on chunks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from octavo._kernels import run_op
from octavo.ops.reference import ReferenceOps

pytestmark = pytest.mark.usefixtures("isa")

LENGTHS = [37, 1, 16]  # tokens of each sequence
ROWS = [2, 0, 3]  # of the states
HEADS, PAGE = 3, 16


def normal(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def packed(keys_values: np.ndarray) -> np.ndarray:
    """[P, 2, H, D] as the op reads it: per head pages of 16 positions, keys turned to [D, 16], then values [16, D], D padded to 16s."""
    positions, _, _, head_dim = keys_values.shape
    pages = np.pad(keys_values, ((0, -positions % PAGE), (0, 0), (0, 0), (0, 0))).reshape(-1, PAGE, 2, HEADS, head_dim)
    keys, values = pages[:, :, 0].transpose(2, 0, 3, 1), pages[:, :, 1].transpose(2, 0, 1, 3)
    values = np.pad(values, ((0, 0), (0, 0), (0, 0), (0, -head_dim % 16)))
    return np.concatenate([keys.reshape(HEADS, len(pages), -1), values.reshape(HEADS, len(pages), -1)], axis=2).ravel()


def run(q: np.ndarray, counts: list[int], rows: list[int], states: np.ndarray, pool: Any, **settings: Any) -> np.ndarray:
    indptr = np.cumsum([0, *counts]).astype(np.int32)
    step = {"query_indptr": indptr, "context_lens": np.array(counts, np.int32), "rows": np.array(rows, np.int32), "states": states}
    (y,) = run_op("cross_attention", [q], [], pool, step=step, state=0, num_heads=HEADS, **settings)
    return y


@pytest.mark.parametrize("head_dim", [8, 64])
@pytest.mark.parametrize("positions", [1, 16, 50, 300])
def test_equals_reference_however_it_is_cut(head_dim: int, positions: int, pool: Any):
    known = normal(4, positions, 2, HEADS, head_dim, seed=0)
    q, settings = normal(sum(LENGTHS), HEADS * head_dim, seed=1), {"num_positions": positions, "scale": head_dim**-0.5}
    states = np.stack([packed(row) for row in known])
    whole = run(q, LENGTHS, ROWS, states, pool, **settings)

    plain = SimpleNamespace(query_indptr=np.cumsum([0, *LENGTHS]).tolist(), rows=ROWS, states=[torch.from_numpy(known).flatten(1)])
    expected = ReferenceOps().cross_attention(plain, torch.from_numpy(q), 0, num_heads=HEADS, **settings).numpy()
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())

    first, rest = q[: LENGTHS[0]], whole[: LENGTHS[0]]
    for begin, end in ((0, 1), (1, 20), (20, 37)):
        assert run(first[begin:end].copy(), [end - begin], ROWS[:1], states, pool, **settings).tobytes() == rest[begin:end].tobytes()


def test_a_state_of_another_size_is_refused(pool: Any):
    with pytest.raises(ValueError, match="the state has 7 elements"):
        run(normal(1, HEADS * 8, seed=0), [1], [0], np.zeros((1, 7), np.float32), pool, num_positions=4, scale=1.0)
