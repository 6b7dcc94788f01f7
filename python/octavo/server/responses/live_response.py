"""One response: its generation in a task of its own, its event log, its readers.

The task ends when the generation does, when somebody cancels it, or `resume_s` seconds after the last reader went away, unless the
response is to be made in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from octavo.server.edge.errors import ApiError, to_api_error
from octavo.server.edge.generation import Generation
from octavo.server.responses.event_log import EventLog

if TYPE_CHECKING:
    from octavo.engine.port import Engine
    from octavo.server.edge.reply import Event
    from octavo.server.responses.protocol import Item, ResponsesBody
    from octavo.server.responses.response_events import Document, ResponseEvents
    from octavo.types import GenerationRequest

__all__ = ["LiveResponse"]


class LiveResponse:
    """See the module.

    Attributes:
        body: what was asked for.
        num_earlier: how many of the conversation's items come from before this response.
        log: the stream.
    """

    def __init__(
        self, body: ResponsesBody, items: Sequence[Item], num_earlier: int, events: ResponseEvents, resume_s: float, log: EventLog
    ) -> None:
        self.body = body
        self.num_earlier = num_earlier
        self.log = log
        self._items = tuple(items)
        self._events = events
        self._resume_s = resume_s
        self._task: asyncio.Task[None] | None = None
        self._num_readers = 0
        self._linger: asyncio.TimerHandle | None = None
        self._why = "cancelled"
        self._error: ApiError | None = None

    @property
    def id(self) -> str:
        """Names the response."""
        return str(self.document["id"])

    @property
    def document(self) -> Document:
        """The response as it is now."""
        return self._events.document

    @property
    def done(self) -> bool:
        """Whether nothing more comes."""
        return self.log.closed

    @property
    def called(self) -> bool:
        """Whether the model has begun to call a tool."""
        return self._events.called

    @property
    def own_items(self) -> tuple[Item, ...]:
        """The input items of this response alone."""
        return self._items[self.num_earlier :]

    @property
    def conversation(self) -> tuple[Item, ...]:
        """Everything up to and with this response's output: what a next response goes on from."""
        return (*self._items, *self.document["output"])

    async def start(self, engine: Engine, request: GenerationRequest) -> None:
        """Begin. Raises what the engine raises for a request that it does not take."""
        submitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(engine, request, submitted))
        try:
            await submitted
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._num_readers == 0:
            self._linger_on()

    def end(self, reason: str) -> None:
        """End it before its time; nothing happens when it is over. `reason` is `cancelled` or `steered`."""
        if self._task is not None and not self.done:
            self._why = reason
            self._task.cancel()

    async def wait(self) -> None:
        """Return when the response is over. Raises `ApiError` where its generation failed."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._error is not None:
            raise self._error

    @contextmanager
    def read(self) -> Iterator[None]:
        """Within the block somebody waits for the response."""
        self._num_readers += 1
        if self._linger is not None:
            self._linger.cancel()
        try:
            yield
        finally:
            self._num_readers -= 1
            if self._num_readers == 0:
                self._linger_on()

    async def stream(self, number: int = 0) -> AsyncIterator[Event]:
        """Yield the events from `number` on, until the end. Raises `ApiError` 410 where some are no longer kept."""
        with self.read():
            async for event in self.log.follow(number):
                yield event

    def note(self, name: str, fields: Document) -> None:
        """Put an event about the stream into it."""
        self.log.append(self._events.note(name, fields))

    def _linger_on(self) -> None:
        if not self.body.background and not self.done:
            self._linger = asyncio.get_running_loop().call_later(self._resume_s, self.end, "cancelled")

    async def _run(self, engine: Engine, request: GenerationRequest, submitted: asyncio.Future[None]) -> None:
        try:
            async with Generation(engine, [request]) as generation:
                self.log.append(self._events.opening())
                if not submitted.done():
                    submitted.set_result(None)
                async for _, delta in generation:
                    self.log.append(self._events.events(delta))
        except asyncio.CancelledError:
            self.log.append(self._events.ended(self._why))
        except Exception as error:
            if not submitted.done():
                submitted.set_exception(error)
            else:
                self._error = to_api_error(error)
                self.log.append(self._events.failed(self._error))
        finally:
            self.log.close()
            if self._linger is not None:
                self._linger.cancel()
