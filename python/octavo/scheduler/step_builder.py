"""A step: under construction what is left of its budgets, and the plan so far; then whose its rows were, until the result is back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from octavo.scheduler.limits import SchedulerLimits
from octavo.scheduler.sequence import Chunk, Sequence, SequenceGroup
from octavo.step import StepPlan, StepResult
from octavo.types import TokenLogprobs

__all__ = ["RowResult", "ScheduledRow", "StepBuilder"]

_DECODE = Chunk(num_tokens=1, num_logits=1, draws=True)


class ScheduledRow(NamedTuple):
    """Who a row belonged to in a step: when the result comes back the row may be another sequence's."""

    row: int
    sequence: Sequence
    chunk: Chunk


class RowResult(NamedTuple):
    """What a step made for a sequence: the parts of `StepResult` that are its row's."""

    sequence: Sequence
    chunk: Chunk
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None
    prompt_logprobs: list[TokenLogprobs | None] | None
    pooled: bytes | None
    error: str | None


class StepBuilder:
    """Divides one step's token budget and logits rows among sequences, in the order of the calls."""

    def __init__(self, step_id: int, limits: SchedulerLimits, num_groups: int, *, keeps_states: bool = False) -> None:
        self._keeps_states = keeps_states
        self.plan = StepPlan(step_id, new_block_ids=[[] for _ in range(num_groups)])
        self.scheduled: list[ScheduledRow] = []
        self.new_groups: list[SequenceGroup] = []  # requests that start in this step for the first time
        self.entered: set[int] = set()  # rows that start or fork in this step: the runner does not have their blocks yet
        self.num_tokens_left = limits.max_num_batched_tokens
        self._num_logits_left = limits.max_num_logits

    def fit(self, sequence: Sequence, max_tokens: int, num_reserved: int = 0, num_drafts: int = 0) -> Chunk | None:
        """The largest chunk of the sequence within `max_tokens`, or None where it has nothing to compute or nothing fits.

        `num_reserved` logits rows are left for the sequences that follow. `num_drafts` are added to a decode step as far as they fit.
        """
        num_uncomputed_tokens = sequence.num_uncomputed_tokens
        num_logits_left = self._num_logits_left - num_reserved
        max_tokens = min(max_tokens, self.num_tokens_left)
        if sequence.is_pooled:
            return self._fit_pooled(sequence, min(num_uncomputed_tokens, max_tokens))
        if num_uncomputed_tokens == 1 and max_tokens > 0 and num_logits_left > 0:
            num_drafts = min(num_drafts, max_tokens - 1, num_logits_left - 1, sequence.max_length - sequence.num_tokens - 1)
            return _DECODE if num_drafts == 0 else Chunk(1 + num_drafts, 1 + num_drafts, True, num_drafts)
        begin = sequence.num_computed_tokens
        logits_begin = max(sequence.first_logits_position, begin)
        num_tokens = min(num_uncomputed_tokens, max_tokens, logits_begin - begin + num_logits_left)
        if num_tokens <= 0:
            return None
        state_end = sequence.next_state_end if self._keeps_states else None
        if state_end is not None:
            num_tokens = min(num_tokens, state_end - begin)
        end = begin + num_tokens
        return Chunk(num_tokens, max(end - logits_begin, 0), end == sequence.num_tokens)

    def _fit_pooled(self, sequence: Sequence, num_tokens: int) -> Chunk | None:
        if num_tokens <= 0 or (sequence.group.request.whole and num_tokens < sequence.num_uncomputed_tokens):
            return None
        return Chunk(num_tokens, num_logits=0, draws=False)

    def add(self, sequence: Sequence, chunk: Chunk, new_block_ids: list[list[int]]) -> None:
        """Schedule a chunk that `fit` gave; the sequence owns its blocks, `new_block_ids` of each group unknown to the runner."""
        assert sequence.row is not None
        plan = self.plan
        plan.rows.append(sequence.row)
        plan.num_scheduled_tokens.append(chunk.num_tokens)
        for of_group, block_ids in zip(plan.new_block_ids, new_block_ids, strict=True):
            of_group.append(block_ids)
        plan.num_logits.append(chunk.num_logits)
        plan.draws.append(chunk.draws)
        plan.num_drafts.append(chunk.num_drafts)
        self.scheduled.append(ScheduledRow(sequence.row, sequence, chunk))
        self.num_tokens_left -= chunk.num_tokens
        self._num_logits_left -= chunk.num_logits
        sequence.advance(chunk)

    def results(self, result: StepResult) -> Iterator[RowResult]:
        """Yield what the step made, for each sequence in batch order. Raises RuntimeError where the result is not this step's."""
        step_id = self.plan.step_id
        if result.step_id != step_id:
            raise RuntimeError(f"the runner returned step {result.step_id} where step {step_id} was due")
        drawn = zip(result.rows, result.token_ids, result.logprobs, strict=True)
        for row, sequence, chunk in self.scheduled:
            error = result.errors.get(row)
            token_ids: list[int] = []
            logprobs = None
            if chunk.draws and error is None:
                drawn_row, token_ids, logprobs = next(drawn, (None, [], None))
                if drawn_row != row or not 1 <= len(token_ids) <= 1 + chunk.num_drafts:
                    raise RuntimeError(f"the runner drew {len(token_ids)} tokens for row {row} in step {step_id}")
            yield RowResult(sequence, chunk, token_ids, logprobs, result.prompt_logprobs.get(row), result.pooled.get(row), error)
