"""How a step's tokens are divided among the sequences that compute a prompt."""

from __future__ import annotations

from collections.abc import Sequence as Many
from math import floor

from octavo.scheduler.sequence import Sequence

__all__ = ["share_budget"]


def share_budget(prefilling: Many[Sequence], num_tokens: int) -> dict[Sequence, int]:
    """Divide `num_tokens` tokens, one at least for each sequence: the most urgent priority first, within one priority in equal shares.

    What a sequence does not need goes to the others, so the longest has at least its part of an equal division. Fractions are
    carried over in `Sequence.share_deficit`: over any number of steps a sequence has its share, to within about one token.
    """
    shares: dict[Sequence, int] = {}
    num_behind = len(prefilling)
    for priority in sorted({sequence.group.priority for sequence in prefilling}):
        members = [sequence for sequence in prefilling if sequence.group.priority == priority]
        num_behind -= len(members)
        shares.update(_equal_shares(members, num_tokens - num_behind))
        num_tokens -= sum(shares[sequence] for sequence in members)
    return shares


def _equal_shares(members: list[Sequence], num_tokens: int) -> dict[Sequence, int]:
    level = _water_level([sequence.num_uncomputed_tokens for sequence in members], num_tokens)
    fair = {sequence: min(float(sequence.num_uncomputed_tokens), level) for sequence in members}
    shares = {sequence: max(1, floor(share)) for sequence, share in fair.items()}
    num_left = num_tokens - sum(shares.values())
    by_deficit = sorted(members, key=lambda sequence: shares[sequence] - fair[sequence] - sequence.share_deficit)
    for sequence in by_deficit:
        if num_left > 0 and shares[sequence] < sequence.num_uncomputed_tokens:
            shares[sequence] += 1
            num_left -= 1
        sequence.share_deficit += fair[sequence] - shares[sequence]
    return shares


def _water_level(wanted: list[int], num_tokens: int) -> float:
    """The most that each may have where nobody has more than it wants and all have `num_tokens` together."""
    rising = sorted(wanted)
    for index, want in enumerate(rising):
        num_above = len(rising) - index
        if want * num_above >= num_tokens:
            return num_tokens / num_above
        num_tokens -= want
    return float(rising[-1])
