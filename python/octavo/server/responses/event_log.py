"""The events of one response, numbered from 0, kept for readers that come late or come back; bounded in bytes and in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from octavo.server.edge.errors import ApiError
from octavo.server.edge.reply import Event

__all__ = ["EventLog"]

MAX_BYTES = 4 * 1024 * 1024
MAX_AGE_S = 600.0
_COMPACTED = 1024  # dropped entries that make it worth moving the rest


class EventLog:
    """Append-only until `close`. An event's number is its `sequence_number`.

    Args:
        max_bytes: of all events; the last one is kept whatever its size.
        max_age_s: seconds after which an event is dropped.
        clock: seconds from an arbitrary start.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_age_s: float = MAX_AGE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._events: list[tuple[float, Event]] = []
        self._head = 0  # entries of the list that are dropped
        self._offset = 0  # number of the list's first entry
        self._waiters: list[asyncio.Future[None]] = []
        self.num_bytes = 0
        self.closed = False

    @property
    def first(self) -> int:
        """Number of the first event that is kept."""
        return self._offset + self._head

    @property
    def end(self) -> int:
        """Number of the event that comes next."""
        return self._offset + len(self._events)

    def append(self, events: Sequence[Event]) -> None:
        """Add `events` and wake the readers."""
        now = self._clock()
        for event in events:
            self._events.append((now, event))
            self.num_bytes += len(event.data)
        self.trim()
        self._wake()

    def close(self) -> None:
        """Nothing more comes: readers end after the last event."""
        self.closed = True
        self._wake()

    def trim(self) -> None:
        """Drop what is too old or too much."""
        oldest = self._clock() - self._max_age_s
        last = len(self._events) - 1
        while self._head < last + self.closed and self._head <= last:
            added, event = self._events[self._head]
            if added >= oldest and (self.num_bytes <= self._max_bytes or self._head == last):
                break
            self.num_bytes -= len(event.data)
            self._events[self._head] = (added, Event(b""))
            self._head += 1
        if self._head >= _COMPACTED:
            del self._events[: self._head]
            self._offset += self._head
            self._head = 0

    def read(self, number: int) -> list[Event]:
        """Return the events from `number` on that there are now; `ApiError` 410 where some of them were dropped."""
        self.trim()
        if number < self.first:
            message = f"events {number} to {self.first - 1} of the stream are no longer kept; fetch the response without stream"
            raise ApiError(410, message, param="starting_after", code="events_expired")
        return [event for _, event in self._events[number - self._offset :]]

    async def follow(self, number: int) -> AsyncIterator[Event]:
        """Yield the events from `number` on, waiting for those to come, until the log is closed. Raises what `read` raises."""
        while True:
            events = self.read(number)
            for event in events:
                yield event
            number += len(events)
            if self.closed and number >= self.end:
                return
            if number >= self.end:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
