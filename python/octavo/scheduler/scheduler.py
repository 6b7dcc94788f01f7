"""The scheduler: one token budget, running sequences first, then waiting ones; preemption by recompute. See README.md.

It may be asked for step N+1 while step N runs. Then the tokens that N draws count as positions whose values are not known yet.
"""

from __future__ import annotations

from collections import deque

from octavo.cache import BlockManager
from octavo.scheduler.limits import SchedulerLimits
from octavo.scheduler.request import NewRequest, SequenceOutput
from octavo.scheduler.sequence import Chunk, Sequence, SequenceGroup
from octavo.scheduler.sequence_queue import SequenceQueue
from octavo.scheduler.step_builder import StepBuilder
from octavo.step import StepPlan, StepResult

__all__ = ["Scheduler"]


class Scheduler:
    """Decides what each step computes. Single-threaded; the README says what each call may change.

    Attributes:
        num_preemptions: sequences that lost their blocks to a more urgent one, so far.
    """

    def __init__(self, limits: SchedulerLimits, blocks: BlockManager) -> None:
        self._limits = limits
        self._blocks = blocks
        self._waiting = SequenceQueue()
        self._running = SequenceQueue()
        self._groups: dict[str, SequenceGroup] = {}
        self._free_rows = list(range(limits.max_num_seqs - 1, -1, -1))
        self._ended_rows: list[int] = []
        self._in_flight: deque[StepBuilder] = deque()
        self._num_arrivals = 0
        self._num_steps = 0
        self._starved: tuple[Sequence, int] | None = None  # head of the queue that found too few blocks free, and how many
        self.num_preemptions = 0

    @property
    def max_sequence_length(self) -> int:
        """Most tokens of a sequence, prompt and output: the context window, or what the pool holds. The last needs no KV."""
        return min(self._limits.max_model_len, self._blocks.max_tokens + 1)

    @property
    def has_work(self) -> bool:
        """Whether a sequence lives, a result is due, or the runner holds rows that ended."""
        return bool(self._groups or self._in_flight or self._ended_rows)

    @property
    def num_running(self) -> int:
        """Sequences that hold a row."""
        return len(self._running)

    @property
    def num_decoding(self) -> int:
        """Running sequences that have one token to compute in the next step: a reader waits for what it draws."""
        return sum(sequence.num_uncomputed_tokens == 1 for sequence in self._running)

    @property
    def num_waiting(self) -> int:
        """Live requests of which no sequence runs."""
        return len(self._groups) - len({sequence.group.arrival for sequence in self._running})

    @property
    def kv_usage(self) -> float:
        """Share of the KV blocks that running sequences hold, 0..1."""
        return self._blocks.usage

    def add(self, request: NewRequest) -> SequenceGroup:
        """Queue a request. Raises ValueError where its id lives already or its sequences can never fit."""
        max_length = len(request.prompt_token_ids) + request.max_tokens
        if request.request_id in self._groups:
            raise ValueError(f"request id {request.request_id!r} is in use; choose another one")
        if not request.prompt_token_ids or request.max_tokens < 1 or max_length > self.max_sequence_length:
            raise ValueError(f"request {request.request_id!r}: prompt and max_tokens must fit 2..{self.max_sequence_length} tokens")
        group = SequenceGroup(request.request_id, request.prompt_token_ids, request.priority, self._num_arrivals)
        for index, sampling in enumerate(request.samplings):
            group.sequences.append(Sequence(group, index, sampling, self._blocks.new_table(request.cache_extras), max_length))
        self._num_arrivals += 1
        self._groups[request.request_id] = group
        self._waiting.add(group.sequences[0])
        return group

    def finish(self, sequence: Sequence) -> None:
        """End a sequence at any time, also while a step of it is in flight: the result will be ignored. Idempotent."""
        if sequence.finished:
            return
        sequence.finished = True
        group = sequence.group
        if sequence.row is not None:
            self._stop_running(sequence)
        elif sequence.index == 0 or group.prompt_computed:
            self._waiting.remove(sequence)
        if all(choice.finished for choice in group.sequences):
            del self._groups[group.request_id]

    def schedule(self, token_budget: int | None = None) -> StepPlan | None:
        """Plan the next step; None where there is nothing to do before a result comes back. The plan must be submitted.

        `token_budget` lowers `max_num_batched_tokens` for this step; each running sequence has its token all the same.
        """
        step = StepBuilder(self._num_steps, self._limits)
        if token_budget is not None:
            step.num_tokens_left = min(step.num_tokens_left, max(token_budget, len(self._running)))
        if self._schedule_running(step):
            self._schedule_waiting(step)
        if not step.scheduled and (self._in_flight or not self._ended_rows):
            return None
        step.plan.ended.extend(self._ended_rows)
        self._ended_rows.clear()
        for scheduled in step.scheduled:
            self._after_planning(scheduled.sequence)
        self._num_steps += 1
        self._in_flight.append(step)
        return step.plan

    def update(self, result: StepResult) -> list[SequenceOutput]:
        """Take the result of the oldest step in flight; returns what it made for sequences that still live.

        Raises RuntimeError where the result does not belong to that step.
        """
        step = self._in_flight.popleft()
        if result.step_id != step.plan.step_id:
            raise RuntimeError(f"the runner returned step {result.step_id} where step {step.plan.step_id} was due")
        drawn = zip(result.rows, result.token_ids, result.logprobs, strict=True)
        outputs = []
        for row, sequence, draws in step.scheduled:
            token_id, logprobs, error = None, None, result.errors.get(row)
            if draws:
                sequence.num_in_flight_tokens -= 1
                if error is None:
                    drawn_row, token_id, logprobs = next(drawn, (None, None, None))
                    if drawn_row != row:
                        raise RuntimeError(f"the runner drew no token for row {row} in step {result.step_id}")
            if sequence.finished:
                continue
            if token_id is not None:
                sequence.append(token_id)
            prompt_logprobs = result.prompt_logprobs.get(row)
            if token_id is not None or prompt_logprobs is not None or error is not None:
                outputs.append(SequenceOutput(sequence, token_id, logprobs, prompt_logprobs, error))
        return outputs

    def check_integrity(self) -> None:
        """Raise RuntimeError or AssertionError where an invariant of the README does not hold. O(blocks + sequences)."""
        self._blocks.check_integrity()
        held_rows = [sequence.row for sequence in self._running if sequence.row is not None]
        assert sorted(self._free_rows + held_rows) == list(range(self._limits.max_num_seqs)), "a row is lost or held twice"
        for sequence in self._waiting:
            assert sequence.row is None and sequence.table.num_blocks == 0, f"waiting sequence {sequence.order} holds a row or blocks"
        if not self._groups:
            assert not self._running and not self._waiting, "a sequence outlives its request"
            assert self._blocks.num_free == self._blocks.num_blocks, "blocks are held though no request lives"

    # ---- running sequences ----------------------------------------------------------------------------------------------------

    def _schedule_running(self, step: StepBuilder) -> bool:
        """Give each running sequence its chunk, most urgent first. False where one was preempted: then nobody else starts."""
        num_preemptions = self.num_preemptions
        running = list(self._running)
        num_behind = len(running)
        for sequence in running:
            num_behind -= 1
            if sequence.row is None:  # preempted for one before it
                continue
            chunk = step.fit(sequence, num_reserved=num_behind)
            if chunk is None:
                continue
            new_block_ids = self._grow(sequence, sequence.num_computed_tokens + chunk.num_tokens)
            if new_block_ids is not None:
                step.add(sequence, chunk, new_block_ids)
        return self.num_preemptions == num_preemptions

    def _grow(self, sequence: Sequence, num_tokens: int) -> list[int] | None:
        """Own blocks for `num_tokens`, preempting from the end of the running order; None where that was the sequence itself."""
        while (new_block_ids := sequence.table.grow(num_tokens)) is None:
            victim = self._running.last  # never one already planned: those stand before `sequence`
            self._stop_running(victim)
            self._waiting.add(victim)
            self.num_preemptions += 1
            if victim is sequence:
                return None
        return new_block_ids

    def _stop_running(self, sequence: Sequence) -> None:
        assert sequence.row is not None
        self._running.remove(sequence)
        self._ended_rows.append(sequence.row)
        self._free_rows.append(sequence.row)
        sequence.release()

    # ---- waiting sequences ----------------------------------------------------------------------------------------------------

    def _schedule_waiting(self, step: StepBuilder) -> None:
        """Start waiting sequences in order until one does not fit: nobody overtakes, so nobody starves."""
        while self._waiting and len(self._running) < self._limits.max_running and self._start(self._waiting.first, step):
            pass

    def _start(self, sequence: Sequence, step: StepBuilder) -> bool:
        if sequence.num_in_flight_tokens or step.num_tokens_left == 0 or self._is_starved(sequence):
            return False
        sequence.num_computed_tokens = self._share_blocks(sequence)
        chunk = step.fit(sequence)
        if chunk is None or not self._has_room(sequence):
            sequence.table.free()
            sequence.num_computed_tokens = 0
            self._starved = (sequence, self._blocks.num_free) if chunk is not None else None
            return False
        self._starved = None
        self._run(sequence, chunk, step)
        return True

    def _run(self, sequence: Sequence, chunk: Chunk, step: StepBuilder) -> None:
        group = sequence.group
        if group.num_cached_tokens is None:
            group.num_cached_tokens = sequence.num_computed_tokens
        self._waiting.remove(sequence)
        self._running.add(sequence)
        sequence.row = self._free_rows.pop()
        sequence.table.grow(sequence.num_computed_tokens + chunk.num_tokens)
        step.plan.started.append(sequence.row_start())
        step.add(sequence, chunk, sequence.table.block_ids)

    def _is_starved(self, sequence: Sequence) -> bool:
        """Whether it was tried before and no block has become free since: trying costs O(prompt), so it is not repeated."""
        return self._starved is not None and self._starved[0] is sequence and self._blocks.num_free <= self._starved[1]

    def _share_blocks(self, sequence: Sequence) -> int:
        """Take over blocks that hold the sequence's first tokens already; returns how many tokens need no computing."""
        if sequence.wants_prompt_logits:
            return 0
        owner = None if sequence.output_token_ids else sequence.group.prompt_owner()
        if owner is not None:
            return sequence.table.fork(owner.table, sequence.num_prompt_tokens - 1)  # the last one gives the logits to draw from
        return sequence.table.match_prefix(sequence.tokens(0, sequence.num_known_tokens))

    def _has_room(self, sequence: Sequence) -> bool:
        """Whether every known token fits, with a block to spare for each running sequence, so that none is preempted at once."""
        num_missing = self._blocks.blocks_for(sequence.num_known_tokens) - sequence.table.num_blocks
        return num_missing + len(self._running) <= self._blocks.num_free

    def _after_planning(self, sequence: Sequence) -> None:
        sequence.publish()
        group = sequence.group
        if not group.prompt_computed and sequence.num_computed_tokens >= sequence.num_prompt_tokens:
            group.prompt_computed = True
            for choice in group.sequences[1:]:
                if not choice.finished:
                    self._waiting.add(choice)
