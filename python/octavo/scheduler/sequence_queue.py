"""Sequences in the order in which they are served."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from operator import attrgetter

from octavo.scheduler.sequence import Sequence

__all__ = ["SequenceQueue"]

_order = attrgetter("order")


class SequenceQueue:
    """Sorted by (priority, arrival, choice). Search is O(log n); insertion and removal move at most n pointers."""

    def __init__(self) -> None:
        self._sequences: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences)

    @property
    def first(self) -> Sequence:
        """Served next. The queue must not be empty."""
        return self._sequences[0]

    @property
    def last(self) -> Sequence:
        """Served last, preempted first. The queue must not be empty."""
        return self._sequences[-1]

    def add(self, sequence: Sequence) -> None:
        insort(self._sequences, sequence, key=_order)

    def discard(self, sequence: Sequence) -> None:
        """Remove the sequence where it is in the queue."""
        index = bisect_left(self._sequences, sequence.order, key=_order)
        if index < len(self._sequences) and self._sequences[index] is sequence:
            del self._sequences[index]

    def remove(self, sequence: Sequence) -> None:
        """Raises KeyError where the sequence is not in the queue."""
        index = bisect_left(self._sequences, sequence.order, key=_order)
        if index == len(self._sequences) or self._sequences[index] is not sequence:
            raise KeyError(sequence.order)
        del self._sequences[index]
