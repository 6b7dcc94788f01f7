"""Which tokens may come next in speech with timestamps (Radford et al. 2022; the rules of OpenAI's `whisper`), as masks.

Times come in pairs, do not run backwards, and stand at the beginning. Where they are more probable together than any one text token, a
time it must be: so the rule reads the logits, and the masks are filled behind the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from octavo.types import TimestampRules

__all__ = ["TimestampMasks"]

Masks = NDArray[np.int32]


class TimestampMasks:
    """The rules of rows that have some."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._rows: dict[int, TimestampRules] = {}

    def __bool__(self) -> bool:
        """Whether a row has rules."""
        return bool(self._rows)

    def start_row(self, row: int, rules: TimestampRules) -> None:
        """Hold a row to rules."""
        self._rows[row] = rules

    def end_row(self, row: int) -> None:
        """Forget a row; nothing happens where it has no rules."""
        self._rows.pop(row, None)

    def add(
        self,
        masks: Masks | None,
        rows: Sequence[int],
        logits: Sequence[NDArray[np.float32]],
        outputs: Callable[[int], Sequence[int]],
    ) -> Masks | None:
        """Return `masks` (see `Matchers.masks`) less what the rules forbid.

        Args:
            logits: [V] of each row.
            outputs: the tokens that a row has drawn.
        """
        if not any(row in self._rows for row in rows):
            return masks
        if masks is None:
            masks = np.full((len(rows), -(-self._vocab_size // 32)), -1, np.int32)
        for index, row in enumerate(rows):
            if row in self._rows:
                allowed = _allowed(self._rows[row], outputs(row), logits[index])
                masks[index] &= _packed(allowed, masks.shape[1])
        return masks


def _allowed(rules: TimestampRules, drawn: Sequence[int], logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    first = rules.first_id
    allowed = np.ones(len(logits), bool)
    allowed[list(rules.suppressed)] = False
    allowed[first - 1] = False  # "no timestamps"
    if not drawn:
        allowed[list(rules.begin_suppressed)] = False
        allowed[:first] = False
        if rules.max_initial is not None:
            allowed[first + rules.max_initial + 1 :] = False
        return allowed
    times = [token for token in drawn if token >= first]
    ended_with_time = drawn[-1] >= first
    in_pair = len(drawn) < 2 or drawn[-2] >= first
    if ended_with_time:
        if in_pair:
            allowed[first:] = False
        else:
            allowed[: rules.end_id] = False
    if times:  # a time that opens a pair may repeat the one that closed the last
        allowed[first : times[-1] + (0 if ended_with_time and not in_pair else 1)] = False
    _prefer_times(allowed, first, logits)
    return allowed


def _prefer_times(allowed: NDArray[np.bool_], first: int, logits: NDArray[np.float32]) -> None:
    """Forbid all text where the times that are allowed are more probable together than each text token that is."""
    shown = np.where(allowed, logits, -np.inf)
    best_time, best_text = shown[first:].max(initial=-np.inf), shown[:first].max(initial=-np.inf)
    if best_time == -np.inf or best_text == -np.inf:
        return
    if best_time + np.log(np.exp(shown[first:] - best_time).sum()) > best_text:
        allowed[:first] = False


def _packed(allowed: NDArray[np.bool_], num_words: int) -> Masks:
    bits = np.zeros(num_words * 32, bool)
    bits[: len(allowed)] = allowed
    return np.packbits(bits, bitorder="little").view(np.int32)
