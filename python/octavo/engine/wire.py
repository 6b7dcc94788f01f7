"""Messages between the front of an engine and its core in another process: a length (8 bytes, little-endian), then a pickle.

Both ends are processes of one server, on a pair of sockets that nobody else can open: what comes is trusted.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from octavo.engine.port import CoreLimits
from octavo.engine.stats import CoreStats

__all__ = ["CoreState", "Wire"]

_LENGTH = 8
_MAX_UNREAD = 256 * 1024 * 1024  # bytes that the other end may leave unread before it is given up


@dataclass(frozen=True, slots=True)
class CoreState:
    """What a core says of itself; see `Core`."""

    limits: CoreLimits
    dead: str | None
    died: bool
    stats: CoreStats


class Wire(asyncio.Protocol):
    """One end. All calls on one event loop.

    Args:
        receive: called with each message, in order.
        lost: called once, when the other end is gone or was given up.
    """

    def __init__(self, receive: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    @classmethod
    async def open(cls, end: socket.socket, receive: Callable[[Any], None], lost: Callable[[], None]) -> Wire:
        """Return the wire on a connected Unix socket, which it closes."""
        wire = cls(receive, lost)
        await asyncio.get_running_loop().create_unix_connection(lambda: wire, sock=end)
        return wire

    def send(self, message: object) -> None:
        """Queue a message; nothing happens where the other end is gone. One that reads nothing for long is cut off."""
        if self._transport is None or self._transport.is_closing():
            return
        packed = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._transport.write(len(packed).to_bytes(_LENGTH, "little") + packed)
        if self._transport.get_write_buffer_size() > _MAX_UNREAD:
            self._transport.abort()

    def close(self) -> None:
        """Send what is queued, then close."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        begin = 0
        while len(buffer) - begin >= _LENGTH:
            end = begin + _LENGTH + int.from_bytes(buffer[begin : begin + _LENGTH], "little")
            if len(buffer) < end:
                break
            message = pickle.loads(memoryview(buffer)[begin + _LENGTH : end])
            begin = end
            self._receive(message)
        del buffer[:begin]

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()
