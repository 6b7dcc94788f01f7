"""Who runs and who waits: rows and blocks change hands here and nowhere else."""

from __future__ import annotations

from octavo.cache import BlockManager
from octavo.scheduler.beam_search import BeamSequence, Placement
from octavo.scheduler.limits import SchedulerLimits
from octavo.scheduler.sequence import Sequence
from octavo.scheduler.sequence_queue import SequenceQueue

__all__ = ["Batch"]


class Batch:
    """The running sequences with their rows and blocks, and the queue of those that wait for them.

    Attributes:
        running, waiting: in the order in which they are served.
        ended_rows: rows given back since the last plan, whose end the next one carries.
        num_preemptions: sequences that lost their blocks to a more urgent one, so far.
    """

    def __init__(self, limits: SchedulerLimits, blocks: BlockManager) -> None:
        self._limits = limits
        self._blocks = blocks
        self._free_rows = list(range(limits.max_num_seqs - 1, -1, -1))
        self.running = SequenceQueue()
        self.waiting = SequenceQueue()
        self.ended_rows: list[int] = []
        self.num_preemptions = 0

    @property
    def num_places(self) -> int:
        """Sequences that may enter beside those that run."""
        return self._limits.max_running - len(self.running)

    def enter(self, sequence: Sequence) -> int:
        """Give a waiting sequence a row, and return it. There must be a place."""
        self.waiting.remove(sequence)
        self.running.add(sequence)
        sequence.row = self._free_rows.pop()
        return sequence.row

    def leave(self, sequence: Sequence) -> None:
        """Take the row and the blocks of a running sequence back."""
        assert sequence.row is not None
        self.running.remove(sequence)
        self.ended_rows.append(sequence.row)
        self._free_rows.append(sequence.row)
        sequence.release()

    def drop(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is."""
        if sequence.row is not None:
            self.leave(sequence)
        else:
            self.waiting.discard(sequence)

    def preempt(self, victim: Sequence) -> None:
        """Take a sequence's row and blocks away. A beam that has reported needs none before the search goes on."""
        self.leave(victim)
        if not (isinstance(victim, BeamSequence) and victim.reported):
            self.waiting.add(victim)
        self.num_preemptions += 1

    def place(self, placements: list[Placement]) -> None:
        """Let the beams of a search go on where it puts them: first rows are given back, then the beams become what they are to be."""
        for beam, parent, *_ in placements:
            if beam is not parent and beam.row is not None:
                self.leave(beam)
        for placement in placements:
            placement.beam.go_on(placement)
            if placement.beam.row is None:
                self.waiting.add(placement.beam)

    def grow(self, sequence: Sequence, num_tokens: int) -> list[list[int]] | None:
        """Own blocks for `num_tokens`, preempting from the end of the running order; None where that was the sequence itself."""
        while (new_block_ids := sequence.table.grow(num_tokens)) is None:
            victim = self.running.last  # never one already planned: those stand before `sequence`
            self.preempt(victim)
            if victim is sequence:
                return None
        return new_block_ids

    def has_room(self, sequence: Sequence) -> bool:
        """Whether every known token fits, with a block to spare for each running sequence, so that none is preempted at once."""
        return self._blocks.has_room(sequence.table, sequence.num_known_tokens, self._limits.max_num_batched_tokens, len(self.running))

    def check_integrity(self) -> None:
        """Raise AssertionError where a row is lost or held twice, or one that waits holds anything."""
        held_rows = [sequence.row for sequence in self.running if sequence.row is not None]
        assert sorted(self._free_rows + held_rows) == list(range(self._limits.max_num_seqs)), "a row is lost or held twice"
        for sequence in self.waiting:
            assert sequence.row is None and sequence.table.num_blocks == 0, f"waiting sequence {sequence.order} holds a row or blocks"
