"""Connections, below HTTP: how they are logged, and clients that close their half of one (RFC 9112, section 9.6).

A client that has sent all it will send may shut its sending side down and still wait for the answer (`nc -N`). To the server this looks
as if it had gone. To tell the two apart something is sent: a client that has gone answers with a reset, one that listens with nothing.
What may be sent depends on the answer: before its head an interim response (100 Continue, RFC 9110, section 15.2), in an event stream a
comment.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from octavo.log import get_logger

if TYPE_CHECKING:
    import ssl

    from aiohttp.web_protocol import RequestHandler

__all__ = ["CONNECTION_LOG", "HalfClosed", "Site"]

_log = get_logger(__name__)
_FIRST_LOOK_S = 0.02
_MOST_S = 1.0
Probe = Callable[[], None]


class ConnectionLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    """aiohttp's log: what is not HTTP is a line at debug, so that nobody can fill a disk with it; faults keep their tracebacks."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **options: Any) -> None:
        """Log an error that aiohttp caught."""
        if isinstance(exc_info, (HttpProcessingError, ConnectionError)):
            self.debug(msg, *args, exc_info=exc_info)
        else:
            super().exception(msg, *args, exc_info=exc_info, **options)

    def debug(self, msg: object, *args: object, exc_info: Any = None, **options: Any) -> None:
        """Log in one line."""
        if exc_info is not None:
            reason = " ".join(str(exc_info).split())[:200]
            msg, args = "%s: %s: %s", (str(msg) % args, type(exc_info).__name__, reason)
        super().debug(msg, *args, **options)


CONNECTION_LOG = ConnectionLogger(_log, {})


class HalfClosed:
    """Connections whose clients have closed their half, and what may be sent on a connection to learn whether its client has gone."""

    def __init__(self) -> None:
        self._probes: dict[asyncio.BaseTransport, Probe] = {}
        self._closed: set[asyncio.BaseTransport] = set()
        self._watches: set[asyncio.Task[None]] = set()

    @contextmanager
    def probing(self, transport: asyncio.Transport | None, probe: Probe) -> Iterator[None]:
        """Within the block, call `probe` once when the client closes its half, and cut the connection when it turns out to be gone."""
        if transport is None:
            yield
            return
        self._probes[transport] = probe
        if transport in self._closed:
            self._watch_soon(transport)
        try:
            yield
        finally:
            self._probes.pop(transport, None)

    def closed(self, transport: asyncio.Transport) -> None:
        """The client of `transport` has closed its half and waits for an answer, or has gone."""
        if transport in self._closed:
            return  # uvloop says it twice
        self._closed.add(transport)
        if transport in self._probes:
            self._watch_soon(transport)

    def lost(self, transport: asyncio.BaseTransport | None) -> None:
        """The connection has ended."""
        if transport is not None:
            self._closed.discard(transport)

    def _watch_soon(self, transport: asyncio.Transport) -> None:
        watch = asyncio.ensure_future(self._watch(transport))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _watch(self, transport: asyncio.Transport) -> None:
        if transport in self._probes:
            self._probes[transport]()
        pause = _FIRST_LOOK_S
        while transport in self._probes and not transport.is_closing():
            if _is_reset(transport):
                transport.abort()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MOST_S)


def _is_reset(transport: asyncio.Transport) -> bool:
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), 0)  # errors are always told
    return bool(poll.poll(0))


class _Connection(asyncio.Protocol):
    """Passes everything to aiohttp's handler, but keeps a half-closed connection while a request is in progress."""

    def __init__(self, handler: RequestHandler, half_closed: HalfClosed) -> None:
        self._handler = handler
        self._half_closed = half_closed
        self._transport: asyncio.Transport | None = None
        for name in ("data_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(handler, name))  # called by the loop without a detour

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        self._handler.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._half_closed.lost(self._transport)
        self._handler.connection_lost(exc)

    def eof_received(self) -> bool:
        """Return whether the connection stays: where a request is in progress that can be answered."""
        handler = self._handler
        if self._transport is None or self._transport.get_extra_info("sslcontext") is not None:
            return False  # TLS closes both halves at once
        idle = handler._waiter is not None and not handler._waiter.done()  # as aiohttp's own keep-alive timer has it
        if idle or handler._upgraded:
            return False
        handler.close()  # after this answer
        self._half_closed.closed(self._transport)
        return True


class Site(web.SockSite):
    """A listening socket whose connections may be half-closed."""

    def __init__(
        self, runner: web.AppRunner, sock: socket.socket, half_closed: HalfClosed, *, backlog: int, ssl_context: ssl.SSLContext | None
    ) -> None:
        super().__init__(runner, sock, backlog=backlog, ssl_context=ssl_context)
        self._half_closed = half_closed

    async def start(self) -> None:
        """Listen."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if self._sock.family is socket.AF_UNIX else loop.create_server
        make = partial(_make_connection, server, self._half_closed)
        self._server = await create(make, sock=self._sock, backlog=self._backlog, ssl=self._ssl_context)


def _make_connection(server: Callable[[], RequestHandler], half_closed: HalfClosed) -> _Connection:
    return _Connection(server(), half_closed)
