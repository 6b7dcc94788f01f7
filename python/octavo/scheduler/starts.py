"""Which waiting sequences start in a step, and how: from the prefix cache, from a sibling's blocks, or from nothing (README, rule 3)."""

from __future__ import annotations

from itertools import islice, takewhile

from octavo.cache import BlockManager, PrefixStart
from octavo.scheduler.batch import Batch
from octavo.scheduler.sequence import Chunk, Sequence
from octavo.scheduler.step_builder import StepBuilder
from octavo.step import BlockCopy

__all__ = ["Starts"]

_MAX_OVERTAKES = 8  # starts ahead of the first waiting sequence before it starts early itself
_NOTHING = PrefixStart(0, None, ())
_MAX_LOOKED_AT = 256  # waiting sequences among which a step looks for short prompts


class Starts:
    """Remembers who was tried in vain and who was overtaken."""

    def __init__(self, batch: Batch, blocks: BlockManager) -> None:
        self._batch = batch
        self._blocks = blocks
        self._starved: tuple[Sequence, int] | None = None  # a sequence that found too few blocks free, and how many
        self._overtaken: tuple[Sequence, int] | None = None  # head of the queue, and how many started before it

    def early(self, step: StepBuilder, due: list[int]) -> list[Sequence]:
        """Waiting sequences that start in this step though longer prompts take all of it. At least one must wait.

        `due`: of each running sequence, the tokens to compute.
        """
        waiting = self._batch.waiting
        running = zip(self._batch.running, due, strict=True)
        prefilling = [(num_due, sequence.group.priority) for sequence, num_due in running if num_due > 1]
        num_tokens = step.num_tokens_left - due.count(1)
        if sum(want for want, _ in prefilling) < num_tokens or self._is_starved(waiting.first):
            return []  # there are tokens for the first one, or no blocks for it: in order
        early: list[Sequence] = []
        for sequence in islice(waiting, _MAX_LOOKED_AT):
            if len(early) >= self._batch.num_places or len(prefilling) >= num_tokens:
                break
            want, priority = _expected_tokens(sequence), sequence.group.priority
            peers = sum(other for other, urgency in prefilling if other < 2 * want and urgency <= priority)
            if not sequence.num_in_flight_tokens and (peers == 0 or peers + want <= num_tokens // 2 or self._waited_enough(sequence)):
                early.append(sequence)
                prefilling.append((want, priority))
        return early

    def start(self, step: StepBuilder, early: list[Sequence], shares: dict[Sequence, int]) -> None:
        """Start the early ones with their shares until one finds no blocks; then, with what is left, others in order while they fit."""
        waiting = self._batch.waiting
        head = waiting.first if waiting else None
        num_overtakes = sum(takewhile(bool, (self._start(sequence, step, shares[sequence]) for sequence in early)))
        if head is None or head.row is not None:
            self._overtaken = None
        elif num_overtakes:
            before = self._overtaken[1] if self._overtaken is not None and self._overtaken[0] is head else 0
            self._overtaken = (head, before + num_overtakes)
        while waiting and self._batch.num_places > 0:
            if not self._start(waiting.first, step, step.num_tokens_left):
                break

    def _start(self, sequence: Sequence, step: StepBuilder, max_tokens: int) -> bool:
        if sequence.num_in_flight_tokens or max_tokens <= 0 or step.num_tokens_left == 0 or self._is_starved(sequence):
            return False
        owner = sequence.fork_source()
        can_fork = owner is not None and owner.row not in step.entered and self._blocks.can_fork(owner.table, sequence.num_known_tokens - 1)
        copies = sequence.fork_from(owner) if owner is not None and can_fork else None
        if copies is None and sequence.can_start_from_prefix:
            self._find_prefix(sequence)
        chunk = step.fit(sequence, max_tokens)
        if chunk is None or not self._batch.has_room(sequence):
            sequence.table.free()
            sequence.begin_at(_NOTHING)
            self._starved = (sequence, self._blocks.num_free) if chunk is not None else None
            return False
        self._starved = None
        self._run(sequence, chunk, step, None if copies is None else owner, copies or [])
        return True

    def _find_prefix(self, sequence: Sequence) -> None:
        token_ids, request = sequence.tokens(0, sequence.num_known_tokens), sequence.group.request
        snapshots = self._blocks.snapshots
        if not self._blocks.keeps_states:
            sequence.num_computed_tokens = sequence.table.match_prefix(token_ids)
        elif snapshots is not None and (request.media or not request.pictures):  # what a speech model hears is in no token
            sequence.begin_at(snapshots.begin(sequence.table, token_ids, request.cache_extras))

    def _run(self, sequence: Sequence, chunk: Chunk, step: StepBuilder, owner: Sequence | None, copies: list[BlockCopy]) -> None:
        """Give the sequence a row that starts, or forks that of `owner`."""
        group = sequence.group
        if group.num_cached_tokens is None:
            group.num_cached_tokens = sequence.num_computed_tokens
            step.new_groups.append(group)
        step.entered.add(self._batch.enter(sequence))
        sequence.table.grow(sequence.num_computed_tokens + chunk.num_tokens)
        new_block_ids = sequence.table.block_ids
        if owner is None:
            step.plan.started.append(sequence.row_start())
        else:
            assert owner.row is not None
            num_shared = sequence.num_computed_tokens // self._blocks.block_size
            step.plan.forked.append(sequence.row_fork(owner.row))
            step.plan.copied_blocks.extend(copies)
            firsts = sequence.table.first_blocks
            new_block_ids = [ids[num_shared - first :] for ids, first in zip(new_block_ids, firsts, strict=True)]
        step.add(sequence, chunk, new_block_ids)

    def _is_starved(self, sequence: Sequence) -> bool:
        """Whether it was tried before and no block has become free since: trying costs O(prompt), so it is not repeated."""
        return self._starved is not None and self._starved[0] is sequence and self._blocks.num_free <= self._starved[1]

    def _waited_enough(self, sequence: Sequence) -> bool:
        return self._overtaken is not None and self._overtaken[0] is sequence and self._overtaken[1] >= _MAX_OVERTAKES


def _expected_tokens(sequence: Sequence) -> int:
    """Tokens that a waiting sequence has to compute, but for those that the prefix cache may have."""
    return 1 if sequence.fork_source() is not None else sequence.num_known_tokens
