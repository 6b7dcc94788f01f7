"""Server-sent events: one write per event, bounded buffers, and no request that outlives its reader.

Every event reaches the socket at once (aiohttp sets TCP_NODELAY, and each write is one chunk). When the client reads slowly the
kernel's buffers fill first, then at most 64 KiB in the transport and 64 KiB in aiohttp's accounting; a write then waits, and
after `stall_s` seconds the connection is cut, which ends this handler and with it the request. A client that vanishes ends the
handler too: the server runs with handler cancellation. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress

import orjson
from aiohttp import web

from octavo.log import get_logger
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import to_api_error

__all__ = ["Send", "send_events", "stall_guard"]

Send = Callable[[bytes], Awaitable[None]]

_log = get_logger(__name__)
_SURE_TO_FIT = 32 * 1024  # half of what the transport takes before a write waits
_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def send_events(
    request: web.Request, send_documents: Callable[[Send], Coroutine[None, None, None]], *, stall_s: float, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send each document (JSON) as an event, then `[DONE]`. An error on the way becomes an event with an error body before it."""
    response = web.StreamResponse(headers={**_HEADERS, **headers})
    await response.prepare(request)

    async def send(data: bytes) -> None:
        event = b"data: %b\n\n" % data
        transport = request.transport
        if transport is not None and transport.get_write_buffer_size() + len(event) < _SURE_TO_FIT:
            await response.write(event)
            return
        with stall_guard(transport, stall_s):
            await response.write(event)

    def probe() -> None:
        comments.append(asyncio.ensure_future(_quietly(response.write(b":\n\n"))))

    comments: list[asyncio.Future[None]] = []
    try:
        try:
            with request.app[CONTEXT].half_closed.probing(request.transport, probe):
                await asyncio.create_task(send_documents(send))  # of its own: each token then wakes no handler and no middleware
        except ConnectionError:
            raise
        except Exception as error:
            await send(orjson.dumps(to_api_error(error).body()))
        await send(b"[DONE]")
        await response.write_eof()
    except ConnectionError:
        _log.debug("the client of %s went away", headers.get("X-Request-Id"))
    return response


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
