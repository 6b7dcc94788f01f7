"""Server-sent events: one write per event, bounded buffers, and no request that outlives its reader.

Every event reaches the socket at once (aiohttp sets TCP_NODELAY, each write is one chunk). When the client reads slowly the
kernel's buffers fill first, then at most 64 KiB in the transport and 64 KiB in aiohttp's accounting; a write then waits, and
after `stall_s` seconds the connection is cut, which ends this handler and with it the request. A client that vanishes ends the
handler too: the server runs with handler cancellation. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from aiohttp import HttpVersion11, web

from octavo.log import get_logger
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import to_api_error

if TYPE_CHECKING:
    from octavo.server.edge.errors import ApiError
    from octavo.server.edge.reply import Event, SendEvent

__all__ = ["SURE_TO_FIT", "EventSource", "framed", "send_events", "stall_guard"]

_log = get_logger(__name__)
SURE_TO_FIT = 32 * 1024  # half of what the transport takes before a write waits
_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class _EventStream(web.StreamResponse):
    """Knows a shorter way to the transport than aiohttp's five calls, which are most of what a token costs."""

    _num_direct_bytes = 0

    def write_chunk(self, transport: asyncio.Transport, event: bytes) -> None:
        """Write `event` as a chunk of its own. The response is chunked, its head is sent, and the transport takes more."""
        chunk = b"%x\r\n%b\r\n" % (len(event), event)
        transport.write(chunk)
        self._num_direct_bytes += len(chunk)

    @property
    def body_length(self) -> int:
        return super().body_length + self._num_direct_bytes


class Ending(Protocol):
    """How a stream ends; a `Shape` is one."""

    @property
    def last_word(self) -> bytes | None: ...
    def failed(self, error: ApiError) -> Sequence[Event]: ...


class EventSource(Protocol):
    """Where the events of a stream come from; a `Reply` is one."""

    @property
    def shape(self) -> Ending: ...
    async def send_events(self, send: SendEvent) -> None: ...


async def send_events(request: web.Request, reply: EventSource, *, stall_s: float) -> web.StreamResponse:
    """Send the events of `reply`, then its API's last word. An error on the way takes the place of what did not come."""
    response = _EventStream(headers=_HEADERS)
    chunked = request.version >= HttpVersion11
    if chunked:
        response.enable_chunked_encoding()
    await response.prepare(request)
    begun = False  # the first write takes the head along

    async def write(event: bytes) -> None:
        nonlocal begun
        transport, begins = request.transport, not begun
        begun = True
        if transport is None or transport.get_write_buffer_size() + len(event) >= SURE_TO_FIT:
            with stall_guard(transport, stall_s):
                await response.write(event)
        elif begins or not chunked or transport.is_closing():
            await response.write(event)
        else:
            response.write_chunk(transport, event)

    def probe() -> None:
        comments.append(asyncio.ensure_future(_quietly(response.write(b":\n\n"))))

    def send(event: Event) -> Awaitable[None]:
        return write(framed(event))

    comments: list[asyncio.Future[None]] = []
    try:
        try:
            with request.app[CONTEXT].half_closed.probing(request.transport, probe):
                await asyncio.create_task(reply.send_events(send))  # of its own: each token then wakes no handler and no middleware
        except ConnectionError:
            raise
        except Exception as error:
            for event in reply.shape.failed(to_api_error(error)):
                await send(event)
        last = reply.shape.last_word
        with stall_guard(request.transport, stall_s):  # one write for the last word and the end of the body
            await response.write_eof(b"" if last is None else b"data: %b\n\n" % last)
    except ConnectionError:
        _log.debug("the client went away")
    return response


def framed(event: Event) -> bytes:
    """Return `event` as an event stream has it. JSON has no line breaks, so that its data is one line."""
    if event.name is None:
        return b"data: %b\n\n" % event.data
    return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data)


async def _quietly(write: Coroutine[None, None, None]) -> None:
    with suppress(ConnectionError):
        await write


@contextmanager
def stall_guard(transport: asyncio.Transport | None, stall_s: float) -> Iterator[None]:
    """Cut the connection when the block (one write) takes longer than `stall_s` seconds: its client reads nothing."""
    if transport is None:
        yield
        return

    def cut() -> None:
        _log.info("cut off a client that read nothing for %.0f s", stall_s)
        transport.abort()

    timer = asyncio.get_running_loop().call_later(stall_s, cut)
    try:
        yield
    finally:
        timer.cancel()
