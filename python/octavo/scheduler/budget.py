"""How a step's tokens are divided: one for each sequence that decodes, drafts, and shares of the rest for those that compute a prompt."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Many
from math import floor

from octavo.scheduler.limits import SchedulerLimits
from octavo.scheduler.sequence import Sequence

__all__ = ["divide", "share_budget"]


def divide(
    running: Iterable[Sequence], due: list[int], early: list[Sequence], limits: SchedulerLimits, num_tokens: int
) -> tuple[dict[Sequence, int], dict[Sequence, int]]:
    """Drafts of the sequences that decode, and the tokens of each one that computes a prompt or is to start early.

    Where `num_tokens` are too few for all of them, drafts are left out first; then nobody starts early, and `early` is emptied.
    `due`: of each running sequence, the tokens to compute.
    """
    drafts = _drafts(running, due, limits)
    if not early and not drafts and max(due, default=0) <= 1:
        return drafts, {}
    num_decoding = due.count(1)
    prefilling = [sequence for sequence, num_due in zip(running, due, strict=True) if num_due > 1]
    num_drafts = sum(drafts.values())
    if num_decoding + num_drafts + len(prefilling) + len(early) > num_tokens:
        drafts, num_drafts = {}, 0
    num_left = num_tokens - num_decoding - num_drafts
    if len(prefilling) + len(early) > num_left:
        early.clear()
    return drafts, share_budget(prefilling + early, num_left)


def _drafts(running: Iterable[Sequence], due: list[int], limits: SchedulerLimits) -> dict[Sequence, int]:
    """Tokens that the runner may propose for each running sequence that decodes. `due` as in `divide`."""
    if not (limits.max_num_drafts or limits.max_num_forced):
        return {}
    forced = max(limits.max_num_drafts, limits.max_num_forced)
    free = limits.max_num_drafts
    pairs = zip(running, due, strict=True)
    decoding = (sequence for sequence, num_due in pairs if num_due == 1 and sequence.group.search is None)
    return {sequence: free if sequence.sampling.grammar is None else forced for sequence in decoding}


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
