"""lm_head: int8 arithmetic with exact candidates finds the token that exact arithmetic finds."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import kernel_ops
from fakes.weight_blocks import random_blocks
from octavo import _kernels

VOCAB, COLS, TOKENS = 4000, 256, 200


def test_the_most_probable_token_is_that_of_exact_arithmetic(isa: str, pool: _kernels.ThreadPool) -> None:
    rng = np.random.default_rng(7)
    parts = [(random_blocks("Q8_0", VOCAB * COLS, rng), "Q8_0", VOCAB)]
    x = rng.standard_normal((TOKENS, COLS), np.float32) * np.exp2(rng.integers(0, 6, COLS)).astype(np.float32)  # some columns stand out
    exact = kernel_ops.linear(x, _kernels.LinearWeight(parts, COLS, pool), None, pool)
    int8 = _kernels.LinearWeight(parts, COLS, pool, "int8")
    rounded, logits = kernel_ops.linear(x, int8, None, pool), kernel_ops.lm_head(x, int8, pool)
    assert np.mean(rounded.argmax(-1) == exact.argmax(-1)) < 1  # or this test would show nothing
    np.testing.assert_array_equal(logits.argmax(-1), exact.argmax(-1))
    np.testing.assert_array_equal(logits.max(-1), exact.max(-1))


def test_bad_arguments(pool: _kernels.ThreadPool) -> None:
    weight = _kernels.LinearWeight([(np.zeros(8 * 34 * 2, np.uint8), "Q8_0", 8)], 64, pool, "int8")
    assert kernel_ops.lm_head(np.zeros((0, 64), np.float32), weight, pool).shape == (0, 8)
    with pytest.raises(ValueError, match=r"x is \[tokens, 32\], expected \[R, E\] with E = 64"):
        kernel_ops.lm_head(np.zeros((1, 32), np.float32), weight, pool)
