"""The scheduler: one token budget, shared by the prompts that are computed; preemption by recompute. README.md is its contract.

It may be asked for step N+1 while step N runs. Then the tokens that N draws count as positions whose values are not known yet.
"""

from __future__ import annotations

from collections import deque

from octavo.cache import BlockManager
from octavo.scheduler.batch import Batch
from octavo.scheduler.beam_search import BeamSearch, BeamSequence
from octavo.scheduler.budget import divide
from octavo.scheduler.limits import SchedulerLimits
from octavo.scheduler.request import CoreRequest, SequenceOutput
from octavo.scheduler.sequence import Sequence, SequenceGroup
from octavo.scheduler.starts import Starts
from octavo.scheduler.step_builder import RowResult, ScheduledRow, StepBuilder
from octavo.step import StepPlan, StepResult
from octavo.types import MAX_BEAM_WIDTH, FinishReason, KvBlocks

__all__ = ["Scheduler"]


class Scheduler:
    """Decides what each step computes. Single-threaded; the README says what each call may change.

    Attributes:
        batch: who runs and who waits; for others to read.
        started: requests of which the last plan computes something for the first time.
    """

    def __init__(self, limits: SchedulerLimits, blocks: BlockManager) -> None:
        self._limits = limits
        self._blocks = blocks
        self.batch = Batch(limits, blocks)
        self._starts = Starts(self.batch, blocks)
        self._groups: dict[str, SequenceGroup] = {}
        self._in_flight: deque[StepBuilder] = deque()
        self._max_beam_lengths = tuple(
            min(limits.max_model_len, blocks.max_tokens(limits.max_num_batched_tokens, num_beams) + 1)
            for num_beams in range(1, min(limits.max_running, MAX_BEAM_WIDTH) + 1)
        )
        self._num_arrivals = 0
        self._num_sequences = 0  # that live
        self._num_steps = 0
        self.started: list[SequenceGroup] = []

    @property
    def max_sequence_length(self) -> int:
        """Most tokens of a sequence, prompt and output: the context window, or what the pool holds. The last needs no KV."""
        return min(self._limits.max_model_len, self._blocks.max_tokens(self._limits.max_num_batched_tokens) + 1)

    @property
    def max_running(self) -> int:
        """Most sequences that run at once."""
        return self._limits.max_running

    @property
    def max_beam_lengths(self) -> tuple[int, ...]:
        """Most tokens of each beam, prompt and output, of a search with 1, 2, 3, ... beams: all of them fit rows and pools side by side."""
        return self._max_beam_lengths

    @property
    def max_prompt_length(self) -> int:
        """Most tokens of a prompt that nothing follows: the context window, or what the pool holds."""
        return min(self._limits.max_model_len, self._blocks.max_tokens(self._limits.max_num_batched_tokens))

    @property
    def has_work(self) -> bool:
        """Whether a sequence lives, a result is due, or the runner holds rows that ended."""
        return bool(self._groups or self._in_flight or self.batch.ended_rows)

    @property
    def num_running(self) -> int:
        """Sequences that hold a row."""
        return len(self.batch.running)

    @property
    def num_decoding(self) -> int:
        """Running sequences that have one token to compute in the next step: a reader waits for what it draws."""
        return sum(sequence.num_uncomputed_tokens == 1 for sequence in self.batch.running)

    @property
    def num_waiting(self) -> int:
        """Live requests of which no sequence runs."""
        return len(self._groups) - len({sequence.group.arrival for sequence in self.batch.running})

    @property
    def num_waiting_sequences(self) -> int:
        """Sequences that live and do not run."""
        return self._num_sequences - len(self.batch.running)

    @property
    def num_waiting_tokens(self) -> int:
        """Prompt tokens of the requests that wait. O(number of these)."""
        return sum(len(sequence.group.prompt_token_ids) for sequence in self.batch.waiting if sequence.index == 0)

    @property
    def num_preemptions(self) -> int:
        """Sequences that lost their blocks to a more urgent one, so far."""
        return self.batch.num_preemptions

    @property
    def kv_usage(self) -> float:
        """Share of the KV blocks that running sequences hold, 0..1."""
        return self._blocks.usage

    def kv_blocks(self) -> list[KvBlocks]:
        """The state of every KV block of each cache group. O(number of blocks)."""
        return self._blocks.kv_blocks()

    def add(self, request: CoreRequest) -> SequenceGroup:
        """Queue a request. Raises ValueError where its id lives already or its sequences can never fit."""
        max_length = len(request.prompt_token_ids) + request.max_tokens
        if request.request_id in self._groups:
            raise ValueError(f"request id {request.request_id!r} is in use; choose another one")
        most = self.max_sequence_length
        if request.beams is not None:
            most = (*self._max_beam_lengths, *[0] * len(request.samplings))[len(request.samplings) - 1]
        elif request.pooling is not None:
            most = self.max_prompt_length + 1
        if not request.prompt_token_ids or request.max_tokens < 1 or max_length > most:
            raise ValueError(f"request {request.request_id!r}: prompt and max_tokens must fit 2..{most} tokens")
        if request.whole and len(request.prompt_token_ids) > self._limits.max_num_batched_tokens:
            raise ValueError(f"request {request.request_id!r}: a prompt that is computed whole must fit a step's token budget")
        most_urgent = self._limits.max_priority
        priority = request.priority if most_urgent is None else max(request.priority, most_urgent)
        group = SequenceGroup(request, priority, self._num_arrivals)
        kind = Sequence if request.beams is None else BeamSequence
        for index, sampling in enumerate(request.samplings):
            group.sequences.append(kind(group, index, sampling, self._blocks.new_table(request.cache_extras), max_length))
        if request.beams is not None:
            group.search = BeamSearch(request.beams, group.sequences)
        self._num_arrivals += 1
        self._num_sequences += len(group.sequences)
        self._groups[request.request_id] = group
        self.batch.waiting.add(group.sequences[0])
        return group

    def finish(self, request_id: str, choice: int | None = None) -> None:
        """End a choice, or all of a request, from outside, at any time, also while a step of it is in flight: the result will be ignored.

        Idempotent; nothing happens where no such request lives.
        """
        group = self._groups.get(request_id)
        for sequence in () if group is None else group.sequences:
            if choice is None or sequence.index == choice:
                self._end(sequence)

    def finish_all(self, error: str = "") -> list[SequenceOutput]:
        """End everything; returns an output with this error for each choice that lived."""
        outputs: list[SequenceOutput] = []
        for group in list(self._groups.values()):
            outputs += self._fail(group, error)
        return outputs

    def _fail(self, group: SequenceGroup, error: str) -> list[SequenceOutput]:
        ended = [sequence for sequence in group.sequences if self._end(sequence)]
        num_choices = group.request.num_choices
        return [sequence.output([], None, None, FinishReason.ERROR, error) for sequence in ended if sequence.index < num_choices]

    def _end(self, sequence: Sequence) -> bool:
        """False where it had ended before."""
        if sequence.finished:
            return False
        sequence.finished = True
        self._num_sequences -= 1
        group = sequence.group
        self.batch.drop(sequence)
        if all(choice.finished for choice in group.sequences):
            del self._groups[group.request.request_id]
        return True

    def schedule(self, token_budget: int | None = None) -> StepPlan | None:
        """Plan the next step; None where there is nothing to do before a result comes back. The plan must be submitted.

        `token_budget` lowers `max_num_batched_tokens` for this step; each running sequence has its token all the same.
        """
        step = StepBuilder(self._num_steps, self._limits, self._blocks.num_groups, keeps_states=self._blocks.keeps_states)
        self.started = step.new_groups
        if token_budget is not None:
            step.num_tokens_left = min(step.num_tokens_left, max(token_budget, len(self.batch.running)))
        due = [sequence.num_uncomputed_tokens for sequence in self.batch.running]
        early = self._starts.early(step, due) if self.batch.waiting else []
        drafts, shares = divide(self.batch.running, due, early, self._limits, step.num_tokens_left)
        if self._schedule_running(step, drafts, shares):
            self._starts.start(step, early, shares)
        while not step.scheduled and not self._in_flight and self.batch.waiting and self.batch.running:  # beams that wait for each other
            self.batch.preempt(self.batch.running.last)
            self._starts.start(step, [], {})
        if not step.scheduled and (self._in_flight or not self.batch.ended_rows):
            return None
        step.plan.ended.extend(self.batch.ended_rows)
        self.batch.ended_rows.clear()
        for scheduled in step.scheduled:
            self._after_planning(scheduled.sequence)
            self._save_states(scheduled, step.plan)
        self._num_steps += 1
        self._in_flight.append(step)
        return step.plan

    def update(self, result: StepResult) -> list[SequenceOutput]:
        """Take the result of the oldest step in flight; returns what it made for sequences that lived, and ends those that are done.

        Raises RuntimeError where the result does not belong to that step.
        """
        step = self._in_flight.popleft()
        outputs: list[SequenceOutput] = []
        for each in step.results(result):
            sequence = each.sequence
            if sequence.finished:
                continue
            if each.error is not None:
                outputs += self._fail(sequence.group, each.error)
            elif isinstance(sequence, BeamSequence):
                outputs += self._take_report(sequence, each)
            else:
                outputs += self._take(sequence, each)
        return outputs

    def _take(self, sequence: Sequence, made: RowResult) -> list[SequenceOutput]:
        """Take what a step made for a sequence; with its last token, or its vectors, it ends."""
        token_ids, logprobs, reason = made.token_ids, made.logprobs, None
        if made.chunk.draws:
            count, reason = sequence.end_of(token_ids)
            if count < len(token_ids):
                token_ids, logprobs = token_ids[:count], logprobs and logprobs[:count]
            sequence.take(token_ids, made.chunk.num_drafts)
        elif made.pooled is not None:
            reason = FinishReason.STOP
        elif made.prompt_logprobs is None:
            return []
        output = sequence.output(token_ids, logprobs, made.prompt_logprobs, reason, pooled=made.pooled)
        if reason is not None:
            self._end(sequence)
        return [output]

    def _take_report(self, beam: BeamSequence, made: RowResult) -> list[SequenceOutput]:
        """Take what a step made for a beam; with the report of the last beam the search goes on, or ends and gives its texts."""
        search = beam.group.search
        assert search is not None
        outputs = [] if made.prompt_logprobs is None else [beam.output([], None, made.prompt_logprobs, None)]
        if made.chunk.draws:
            beam.take_report(made.token_ids, made.logprobs)
            self.batch.waiting.discard(beam)
            if search.complete:
                self.batch.place(search.advance())
        if search.over:
            outputs += search.outputs()
            for each in beam.group.sequences:
                self._end(each)
        return outputs

    def check_integrity(self) -> None:
        """Raise RuntimeError or AssertionError where an invariant of the README does not hold. O(blocks + sequences)."""
        self._blocks.check_integrity()
        self.batch.check_integrity()
        if not self._groups:
            assert not self.batch.running and not self.batch.waiting, "a sequence outlives its request"
            assert self._blocks.num_free == self._blocks.num_blocks, "blocks are held though no request lives"

    def _schedule_running(self, step: StepBuilder, drafts: dict[Sequence, int], shares: dict[Sequence, int]) -> bool:
        """Give each running sequence its chunk, most urgent first. False where one was preempted: then nobody else starts."""
        num_preemptions = self.batch.num_preemptions
        running = list(self.batch.running)
        num_behind = len(running)
        if self._blocks.windowed:  # all of them first: what one gives back another may need
            for sequence in running:
                sequence.table.release_before(sequence.num_settled_tokens)
        for sequence in running:
            num_behind -= 1
            if sequence.row is None:  # preempted for one before it
                continue
            num_drafts = drafts.get(sequence, 0)
            chunk = step.fit(sequence, shares.get(sequence, 1 + num_drafts), num_behind, num_drafts)
            if chunk is None:
                continue
            new_block_ids = self.batch.grow(sequence, sequence.num_computed_tokens + chunk.num_tokens)
            if new_block_ids is not None:
                if sequence.replaces_drawn:
                    step.plan.forked.append(sequence.row_fork(sequence.row))
                    sequence.replaces_drawn = False
                step.add(sequence, chunk, new_block_ids)
        return self.batch.num_preemptions == num_preemptions

    def _save_states(self, scheduled: ScheduledRow, plan: StepPlan) -> None:
        """Have the states copied where a prefix ends with the step."""
        sequence, snapshots = scheduled.sequence, self._blocks.snapshots
        points = sequence.snapshot_points
        if snapshots is None or not points or points[0].num_tokens != sequence.num_computed_tokens:
            return
        sequence.snapshot_points = points[1:]
        slot = snapshots.save(points[0].key)
        if slot is not None:
            plan.saved_states.append((scheduled.row, slot))

    def _after_planning(self, sequence: Sequence) -> None:
        sequence.publish()
        group = sequence.group
        # A state is taken over while its owner has not gone on: the others join it for the prompt's last token.
        num_before = sequence.num_prompt_tokens - (self._blocks.keeps_states and group.search is None)
        if not group.prompt_computed and sequence.num_computed_tokens >= num_before:
            group.prompt_computed = True
            for choice in () if group.search is not None else group.sequences[1:]:
                if not choice.finished:
                    self.batch.waiting.add(choice)
