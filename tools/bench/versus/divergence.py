"""How far one distribution over tokens is from another, in float64. Logits are [rows, V], one row for each predicted token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["kl_divergences", "log_softmax", "negative_log_likelihoods", "same_top"]

Logits = NDArray[np.float32]
Values = NDArray[np.float64]


def log_softmax(logits: Logits) -> Values:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide


def kl_divergences(exact: Logits, other: Logits) -> Values:
    """Return KL(exact || other) in nats for each row."""
    log_p, log_q = log_softmax(exact), log_softmax(other)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def same_top(exact: Logits, other: Logits) -> NDArray[np.bool_]:
    """Return for each row whether both hold the same token the likeliest."""
    return exact.argmax(axis=1) == other.argmax(axis=1)


def negative_log_likelihoods(logits: Logits, targets: list[int]) -> Values:
    """Return -log p(target) of each row; e to their mean is the perplexity."""
    return -log_softmax(logits)[np.arange(len(targets)), targets]
