"""The scheduler: one token budget, shared by the prompts that are computed; preemption by recompute. README.md is its contract.

It may be asked for step N+1 while step N runs. Then the tokens that N draws count as positions whose values are not known yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice, takewhile

from octavo.cache import BlockManager
from octavo.scheduler.beam_search import BeamSearch, BeamSequence
from octavo.scheduler.budget import share_budget
from octavo.scheduler.limits import SchedulerLimits
from octavo.scheduler.request import CoreRequest, SequenceOutput
from octavo.scheduler.sequence import Chunk, Sequence, SequenceGroup
from octavo.scheduler.sequence_queue import SequenceQueue
from octavo.scheduler.step_builder import StepBuilder
from octavo.step import BlockCopy, RowFork, StepPlan, StepResult
from octavo.types import MAX_BEAM_WIDTH, FinishReason, KvBlocks, TokenLogprobs

__all__ = ["Scheduler"]

_MAX_OVERTAKES = 8  # starts ahead of the first waiting sequence before it starts early itself
_MAX_LOOKED_AT = 256  # waiting sequences among which a step looks for short prompts


class Scheduler:
    """Decides what each step computes. Single-threaded; the README says what each call may change.

    Attributes:
        num_preemptions: sequences that lost their blocks to a more urgent one, so far.
        started: requests of which the last plan computes something for the first time.
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
        self._max_beam_lengths = tuple(
            min(limits.max_model_len, blocks.max_tokens(limits.max_num_batched_tokens, num_beams) + 1)
            for num_beams in range(1, min(limits.max_running, MAX_BEAM_WIDTH) + 1)
        )
        self._num_arrivals = 0
        self._num_sequences = 0  # that live
        self._num_steps = 0
        self._starved: tuple[Sequence, int] | None = None  # a sequence that found too few blocks free, and how many
        self._overtaken: tuple[Sequence, int] | None = None  # head of the queue, and how many started before it
        self.num_preemptions = 0
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
    def num_waiting_sequences(self) -> int:
        """Sequences that live and do not run."""
        return self._num_sequences - len(self._running)

    @property
    def num_waiting_tokens(self) -> int:
        """Prompt tokens of the requests that wait. O(number of these)."""
        return sum(len(sequence.group.prompt_token_ids) for sequence in self._waiting if sequence.index == 0)

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
        self._waiting.add(group.sequences[0])
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
        if sequence.row is not None:
            self._stop_running(sequence)
        else:
            self._waiting.discard(sequence)
        if all(choice.finished for choice in group.sequences):
            del self._groups[group.request.request_id]
        return True

    def schedule(self, token_budget: int | None = None) -> StepPlan | None:
        """Plan the next step; None where there is nothing to do before a result comes back. The plan must be submitted.

        `token_budget` lowers `max_num_batched_tokens` for this step; each running sequence has its token all the same.
        """
        self.started.clear()
        step = StepBuilder(self._num_steps, self._limits, self._blocks.num_groups)
        if token_budget is not None:
            step.num_tokens_left = min(step.num_tokens_left, max(token_budget, len(self._running)))
        due = [sequence.num_uncomputed_tokens for sequence in self._running]
        early = self._early_starters(step, due) if self._waiting else []
        drafts, shares = self._divide(step, due, early)
        if self._schedule_running(step, drafts, shares):
            self._schedule_waiting(step, early, shares)
        while not step.scheduled and not self._in_flight and self._waiting and self._running:  # beams that wait for each other
            self._preempt(self._running.last)
            self._schedule_waiting(step, [], {})
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
        """Take the result of the oldest step in flight; returns what it made for sequences that lived, and ends those that are done.

        Raises RuntimeError where the result does not belong to that step.
        """
        step = self._in_flight.popleft()
        if result.step_id != step.plan.step_id:
            raise RuntimeError(f"the runner returned step {result.step_id} where step {step.plan.step_id} was due")
        drawn = zip(result.rows, result.token_ids, result.logprobs, strict=True)
        outputs: list[SequenceOutput] = []
        for row, sequence, chunk in step.scheduled:
            error = result.errors.get(row)
            token_ids: list[int] = []
            logprobs = None
            if chunk.draws and error is None:
                drawn_row, token_ids, logprobs = next(drawn, (None, [], None))
                if drawn_row != row or not 1 <= len(token_ids) <= 1 + chunk.num_drafts:
                    raise RuntimeError(f"the runner drew {len(token_ids)} tokens for row {row} in step {result.step_id}")
            if sequence.finished:
                continue
            if error is not None:
                outputs += self._fail(sequence.group, error)
                continue
            if isinstance(sequence, BeamSequence):
                outputs += self._take_report(sequence, chunk, token_ids, logprobs, result.prompt_logprobs.get(row))
                continue
            reason = None
            if chunk.draws:
                count, reason = sequence.end_of(token_ids)
                if count < len(token_ids):
                    token_ids, logprobs = token_ids[:count], logprobs and logprobs[:count]
                sequence.take(token_ids, chunk.num_drafts)
            prompt_logprobs, pooled = result.prompt_logprobs.get(row), result.pooled.get(row)
            if pooled is not None:
                reason = FinishReason.STOP
            if token_ids or prompt_logprobs is not None or pooled is not None:
                outputs.append(sequence.output(token_ids, logprobs, prompt_logprobs, reason, pooled=pooled))
            if reason is not None:
                self._end(sequence)
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

    # ---- the budget -----------------------------------------------------------------------------------------------------------

    def _divide(self, step: StepBuilder, due: list[int], early: list[Sequence]) -> tuple[dict[Sequence, int], dict[Sequence, int]]:
        """Drafts of the sequences that decode, and the tokens of each one that computes a prompt or is to start early.

        `due`: of each running sequence, the tokens to compute.
        """
        drafts = self._drafts(due)
        if not early and max(due, default=0) <= 1 and not drafts:
            return drafts, {}
        num_decoding = due.count(1)
        prefilling = [sequence for sequence, num_tokens in zip(self._running, due, strict=True) if num_tokens > 1]
        num_drafts = sum(drafts.values())
        if num_decoding + num_drafts + len(prefilling) + len(early) > step.num_tokens_left:
            drafts, num_drafts = {}, 0
        num_left = step.num_tokens_left - num_decoding - num_drafts
        if len(prefilling) + len(early) > num_left:
            early.clear()
        return drafts, share_budget(prefilling + early, num_left)

    def _drafts(self, due: list[int]) -> dict[Sequence, int]:
        """Tokens that the runner may propose for each running sequence that decodes. `due` as in `_divide`."""
        limits = self._limits
        if not (limits.max_num_drafts or limits.max_num_forced):
            return {}
        forced = max(limits.max_num_drafts, limits.max_num_forced)
        pairs = zip(self._running, due, strict=True)
        decoding = (sequence for sequence, num_tokens in pairs if num_tokens == 1 and sequence.group.search is None)
        return {sequence: limits.max_num_drafts if sequence.sampling.grammar is None else forced for sequence in decoding}

    def _early_starters(self, step: StepBuilder, due: list[int]) -> list[Sequence]:
        """Waiting sequences that start in this step though longer prompts take all of it. See rule 3 of the README."""
        running = zip(self._running, due, strict=True)
        prefilling = [(num_tokens, sequence.group.priority) for sequence, num_tokens in running if num_tokens > 1]
        num_rows = self._limits.max_running - len(due)
        num_tokens = step.num_tokens_left - due.count(1)
        if sum(want for want, _ in prefilling) < num_tokens or self._is_starved(self._waiting.first):
            return []  # there are tokens for the first one, or no blocks for it: in order
        early: list[Sequence] = []
        for sequence in islice(self._waiting, _MAX_LOOKED_AT):
            if len(early) >= num_rows or len(prefilling) >= num_tokens:
                break
            want, priority = self._expected_tokens(sequence), sequence.group.priority
            peers = sum(other for other, urgency in prefilling if other < 2 * want and urgency <= priority)
            if not sequence.num_in_flight_tokens and (peers == 0 or peers + want <= num_tokens // 2 or self._waited_enough(sequence)):
                early.append(sequence)
                prefilling.append((want, priority))
        return early

    def _expected_tokens(self, sequence: Sequence) -> int:
        """Tokens that a waiting sequence has to compute, but for those that the prefix cache may have."""
        return 1 if sequence.fork_source() is not None else sequence.num_known_tokens

    def _waited_enough(self, sequence: Sequence) -> bool:
        return self._overtaken is not None and self._overtaken[0] is sequence and self._overtaken[1] >= _MAX_OVERTAKES

    # ---- beams ----------------------------------------------------------------------------------------------------------------

    def _take_report(
        self,
        beam: BeamSequence,
        chunk: Chunk,
        token_ids: list[int],
        logprobs: list[TokenLogprobs] | None,
        prompt_logprobs: list[TokenLogprobs | None] | None,
    ) -> list[SequenceOutput]:
        """Take a step's result for a beam; with that of the last beam the search goes on, or ends and gives its texts."""
        search = beam.group.search
        assert search is not None
        outputs = [] if prompt_logprobs is None else [beam.output([], None, prompt_logprobs, None)]
        if chunk.draws:
            beam.take_report(token_ids, logprobs)
            self._waiting.discard(beam)
            if search.complete:
                outputs += self._advance(beam.group, search)
        return outputs

    def _advance(self, group: SequenceGroup, search: BeamSearch) -> list[SequenceOutput]:
        placements = search.advance()
        for beam, parent, *_ in placements:
            if beam is not parent and beam.row is not None:
                self._stop_running(beam)
        for placement in placements:
            placement.beam.go_on(placement)
            if placement.beam.row is None:
                self._waiting.add(placement.beam)
        return self._texts(group, search) if search.over else []

    def _texts(self, group: SequenceGroup, search: BeamSearch) -> list[SequenceOutput]:
        """The outputs of a search that is over; its sequences end."""
        ends = group.request.end_token_ids
        outputs = []
        for choice, best in zip(group.sequences, search.best(), strict=False):
            reason = FinishReason.STOP if best.token_ids[-1] in ends else FinishReason.LENGTH
            outputs.append(choice.output(best.token_ids, best.logprobs or None, None, reason))
        for beam in group.sequences:
            self._end(beam)
        return outputs

    # ---- running sequences ----------------------------------------------------------------------------------------------------

    def _schedule_running(self, step: StepBuilder, drafts: dict[Sequence, int], shares: dict[Sequence, int]) -> bool:
        """Give each running sequence its chunk, most urgent first. False where one was preempted: then nobody else starts."""
        num_preemptions = self.num_preemptions
        running = list(self._running)
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
            new_block_ids = self._grow(sequence, sequence.num_computed_tokens + chunk.num_tokens)
            if new_block_ids is not None:
                if sequence.replaces_drawn:
                    step.plan.forked.append(self._row_fork(sequence, sequence.row))
                    sequence.replaces_drawn = False
                step.add(sequence, chunk, new_block_ids)
        return self.num_preemptions == num_preemptions

    def _grow(self, sequence: Sequence, num_tokens: int) -> list[list[int]] | None:
        """Own blocks for `num_tokens`, preempting from the end of the running order; None where that was the sequence itself."""
        while (new_block_ids := sequence.table.grow(num_tokens)) is None:
            victim = self._running.last  # never one already planned: those stand before `sequence`
            self._preempt(victim)
            if victim is sequence:
                return None
        return new_block_ids

    def _preempt(self, victim: Sequence) -> None:
        """Take a sequence's row and blocks away. A beam that has reported needs none before the search goes on."""
        self._stop_running(victim)
        if not (isinstance(victim, BeamSequence) and victim.reported):
            self._waiting.add(victim)
        self.num_preemptions += 1

    def _stop_running(self, sequence: Sequence) -> None:
        assert sequence.row is not None
        self._running.remove(sequence)
        self._ended_rows.append(sequence.row)
        self._free_rows.append(sequence.row)
        sequence.release()

    # ---- waiting sequences ----------------------------------------------------------------------------------------------------

    def _schedule_waiting(self, step: StepBuilder, early: list[Sequence], shares: dict[Sequence, int]) -> None:
        """Start the early ones with their shares until one finds no blocks; then, with what is left, others in order while they fit."""
        head = self._waiting.first if self._waiting else None
        num_overtakes = sum(takewhile(bool, (self._start(sequence, step, shares[sequence]) for sequence in early)))
        if head is None or head.row is not None:
            self._overtaken = None
        elif num_overtakes:
            before = self._overtaken[1] if self._overtaken is not None and self._overtaken[0] is head else 0
            self._overtaken = (head, before + num_overtakes)
        while self._waiting and len(self._running) < self._limits.max_running:
            if not self._start(self._waiting.first, step, step.num_tokens_left):
                break

    def _start(self, sequence: Sequence, step: StepBuilder, max_tokens: int) -> bool:
        if sequence.num_in_flight_tokens or max_tokens <= 0 or step.num_tokens_left == 0 or self._is_starved(sequence):
            return False
        owner = sequence.fork_source()
        copies = None if owner is None or owner.row in step.entered else self._fork(sequence, owner)
        if copies is None and sequence.can_start_from_prefix:
            sequence.num_computed_tokens = sequence.table.match_prefix(sequence.tokens(0, sequence.num_known_tokens))
        chunk = step.fit(sequence, max_tokens)
        if chunk is None or not self._has_room(sequence):
            sequence.table.free()
            sequence.num_computed_tokens = 0
            self._starved = (sequence, self._blocks.num_free) if chunk is not None else None
            return False
        self._starved = None
        self._run(sequence, chunk, step, None if copies is None else owner, copies or [])
        return True

    def _run(self, sequence: Sequence, chunk: Chunk, step: StepBuilder, owner: Sequence | None, copies: list[BlockCopy]) -> None:
        """Give the sequence a row that starts, or forks that of `owner`."""
        group = sequence.group
        if group.num_cached_tokens is None:
            group.num_cached_tokens = sequence.num_computed_tokens
            self.started.append(group)
        self._waiting.remove(sequence)
        self._running.add(sequence)
        sequence.row = self._free_rows.pop()
        step.entered.add(sequence.row)
        sequence.table.grow(sequence.num_computed_tokens + chunk.num_tokens)
        new_block_ids = sequence.table.block_ids
        if owner is None:
            step.plan.started.append(sequence.row_start())
        else:
            assert owner.row is not None
            num_shared = sequence.num_computed_tokens // self._blocks.block_size
            step.plan.forked.append(self._row_fork(sequence, owner.row))
            step.plan.copied_blocks.extend(copies)
            firsts = sequence.table.first_blocks
            new_block_ids = [ids[num_shared - first :] for ids, first in zip(new_block_ids, firsts, strict=True)]
        step.add(sequence, chunk, new_block_ids)

    def _row_fork(self, sequence: Sequence, source_row: int) -> RowFork:
        """The sequence's row takes over its tokens but the last from `source_row`."""
        assert sequence.row is not None
        num_tokens = sequence.num_known_tokens - 1
        (token_id,) = sequence.tokens(num_tokens, num_tokens + 1)
        return RowFork(sequence.row, source_row, num_tokens, token_id, sequence.sampling)

    def _is_starved(self, sequence: Sequence) -> bool:
        """Whether it was tried before and no block has become free since: trying costs O(prompt), so it is not repeated."""
        return self._starved is not None and self._starved[0] is sequence and self._blocks.num_free <= self._starved[1]

    def _fork(self, sequence: Sequence, owner: Sequence) -> list[BlockCopy] | None:
        """Take over the known tokens but the last, whose logits are to draw from, from a running sibling. Returns the blocks to be
        copied for that; None where it cannot be: the sibling has given blocks back, or the copies find no free ones."""
        num_tokens = sequence.num_known_tokens - 1
        table = sequence.table
        num_shared = table.fork(owner.table, num_tokens) if num_tokens else None
        if num_shared is None:
            return None
        copied: Iterable[tuple[int, int]] | None = []
        if num_shared < num_tokens:
            copied = table.copy_last(owner.table, num_tokens)
        if copied is None:
            table.free()
            return None
        sequence.num_computed_tokens = num_tokens
        return [BlockCopy(group, *blocks) for group, blocks in enumerate(copied)]

    def _has_room(self, sequence: Sequence) -> bool:
        """Whether every known token fits, with a block to spare for each running sequence, so that none is preempted at once."""
        limits = self._limits
        return self._blocks.has_room(sequence.table, sequence.num_known_tokens, limits.max_num_batched_tokens, len(self._running))

    def _after_planning(self, sequence: Sequence) -> None:
        sequence.publish()
        group = sequence.group
        if not group.prompt_computed and sequence.num_computed_tokens >= sequence.num_prompt_tokens:
            group.prompt_computed = True
            for choice in () if group.search is not None else group.sequences[1:]:
                if not choice.finished:
                    self._waiting.add(choice)
