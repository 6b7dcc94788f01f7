"""One API request on its way back: deltas in, events or one document out.

`Reply` knows order and threads; a `Shape` knows an API's documents, the names of its events and its last word.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aiohttp import HttpVersion11, web

from octavo.server.edge.context import CONTEXT
from octavo.server.edge.request_ids import name_request
from octavo.server.edge.sse import send_events
from octavo.types import Delta

if TYPE_CHECKING:
    from octavo.server.edge.errors import ApiError
    from octavo.server.edge.workers import Workers

__all__ = ["Event", "Reply", "SendEvent", "Shape", "awaiting", "respond"]


class Event(NamedTuple):
    """One event of a stream: JSON, and the name that some APIs give it."""

    data: bytes
    name: str | None = None


SendEvent = Callable[[Event], Awaitable[None]]


class Shape(Protocol):
    """Forms one request's documents in the words of one API. Its methods are called in the order in which they stand here.

    Attributes:
        last_word: data of the event that ends an event stream, such as `[DONE]`; None where the API has none.
    """

    last_word: bytes | None

    def opening(self) -> Sequence[Event]:
        """Return the events before the first token."""
        ...

    def events(self, prompt_index: int, delta: Delta) -> Sequence[Event]:
        """Return the events that `delta` leads to, in order; none when it says nothing yet."""
        ...

    def closing(self) -> Sequence[Event]:
        """Return the events after the last token."""
        ...

    def failed(self, error: ApiError) -> Sequence[Event]:
        """Return the events that end a stream in the place of those that did not come any more."""
        ...

    def whole(self, finished: Sequence[tuple[int, Delta]]) -> bytes:
        """Return the JSON document of a request that is not streamed, from (prompt index, everything about one choice), in order."""
        ...


class Reply:
    """What one request is answered. Await `send_events` or `whole`, once.

    Attributes:
        request_id: names the request in headers and documents.
    """

    def __init__(self, request_id: str, generation: AsyncIterable[tuple[int, Delta]], shape: Shape, workers: Workers) -> None:
        self.request_id = request_id
        self.shape = shape
        self._generation = generation
        self._workers = workers

    async def send_events(self, send: SendEvent) -> None:
        """Send the stream's events in the order of generation."""
        shape, workers = self.shape, self._workers
        for event in shape.opening():
            await send(event)
        async for prompt_index, delta in self._generation:
            size = _size(delta)
            events = await workers.run(size, partial(shape.events, prompt_index, delta)) if size else shape.events(prompt_index, delta)
            for event in events:
                await send(event)
        for event in shape.closing():
            await send(event)

    async def whole(self) -> bytes:
        """Return the whole answer as one JSON document, choices in order of prompt and index."""
        deltas: dict[tuple[int, int], list[Delta]] = {}
        async for prompt_index, delta in self._generation:
            deltas.setdefault((prompt_index, delta.index), []).append(delta)
        finished = [(key[0], Delta.joined(deltas[key])) for key in sorted(deltas)]
        size = sum(len(delta.token_ids) + _size(delta) for _, delta in finished)
        return await self._workers.run(size, partial(self.shape.whole, finished))


async def respond(request: web.Request, reply: Reply, *, stream: bool) -> web.StreamResponse:
    """Answer `request` with the events or the one document of `reply`."""
    name_request(request, reply.request_id)
    if stream:
        return await send_events(request, reply, stall_s=request.app[CONTEXT].stall_s)
    with awaiting(request):
        document = await reply.whole()
    return web.Response(body=document, content_type="application/json")


def awaiting(request: web.Request) -> AbstractContextManager[None]:
    """Return a block in which nothing is sent: a client that closes its half meanwhile gets its answer, one that has gone is cut off."""
    return request.app[CONTEXT].half_closed.probing(request.transport, partial(_say_continue, request))


def _say_continue(request: web.Request) -> None:
    """Send an interim response, which HTTP/1.1 clients read over."""
    if request.transport is not None and request.version >= HttpVersion11:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _size(delta: Delta) -> int:
    """Return about how many parts the log-probabilities of `delta` have in a document; 0 where it has none."""
    if delta.logprobs is None and delta.prompt_logprobs is None:
        return 0
    rows = [*(delta.logprobs or ()), *(delta.prompt_logprobs or ())]
    return sum(8 + 8 * len(row.top) for row in rows if row is not None)
