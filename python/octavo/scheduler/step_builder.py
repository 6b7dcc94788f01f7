"""A step under construction: what is left of its budgets, and the plan so far."""

from __future__ import annotations

from typing import NamedTuple

from octavo.scheduler.limits import SchedulerLimits
from octavo.scheduler.sequence import Chunk, Sequence
from octavo.step import StepPlan

__all__ = ["ScheduledRow", "StepBuilder"]

_DECODE = Chunk(num_tokens=1, num_logits=1, draws=True)


class ScheduledRow(NamedTuple):
    """Who a row belonged to in a step: when the result comes back the row may be another sequence's."""

    row: int
    sequence: Sequence
    draws: bool


class StepBuilder:
    """Divides one step's token budget and logits rows among sequences, in the order of the calls."""

    def __init__(self, step_id: int, limits: SchedulerLimits) -> None:
        self.plan = StepPlan(step_id)
        self.scheduled: list[ScheduledRow] = []
        self.num_tokens_left = limits.max_num_batched_tokens
        self._num_logits_left = limits.max_num_logits

    def fit(self, sequence: Sequence, num_reserved: int = 0) -> Chunk | None:
        """The largest chunk of the sequence that fits, or None where it has nothing to compute or nothing fits.

        `num_reserved` tokens and logits rows are left for the sequences that follow.
        """
        num_uncomputed_tokens = sequence.num_uncomputed_tokens
        if num_uncomputed_tokens == 1 and self.num_tokens_left > num_reserved and self._num_logits_left > num_reserved:
            return _DECODE
        begin = sequence.num_computed_tokens
        logits_begin = max(sequence.first_logits_position, begin)
        num_tokens = min(
            num_uncomputed_tokens,
            self.num_tokens_left - num_reserved,
            logits_begin - begin + self._num_logits_left - num_reserved,
        )
        if num_tokens <= 0:
            return None
        end = begin + num_tokens
        return Chunk(num_tokens, max(end - logits_begin, 0), end == sequence.num_tokens)

    def add(self, sequence: Sequence, chunk: Chunk, new_block_ids: list[int]) -> None:
        """Schedule a chunk that `fit` gave; the sequence owns its blocks, `new_block_ids` of them unknown to the runner."""
        assert sequence.row is not None
        plan = self.plan
        plan.rows.append(sequence.row)
        plan.num_computed_tokens.append(sequence.num_computed_tokens)
        plan.num_scheduled_tokens.append(chunk.num_tokens)
        plan.new_block_ids.append(new_block_ids)
        plan.num_logits.append(chunk.num_logits)
        plan.draws.append(chunk.draws)
        self.scheduled.append(ScheduledRow(sequence.row, sequence, chunk.draws))
        self.num_tokens_left -= chunk.num_tokens
        self._num_logits_left -= chunk.num_logits
        sequence.advance(chunk)
