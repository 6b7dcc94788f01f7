"""GET /v1/stream: many concurrent streams over one WebSocket.

The client sends JSON objects: a body of `/v1/chat/completions` (it has `messages`) or `/v1/completions` (it has `prompt`) with an
`id` (string or integer) of the client's choosing, or `{"type": "abort", "id": ...}`. The server sends, for each id, in order:

    {"type": "chunk", "id": ..., "data": {the chunk that an event stream would carry}}      any number
    {"type": "error", "id": ..., "error": {"message", "type", "param", "code"}}             at most once
    {"type": "done",  "id": ..., "aborted": false}                                          once, last; the id is free again

A message without a usable `id` is answered by an error whose id is null. Closing the socket aborts everything on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from octavo.server.edge.body import parse_body, parse_json
from octavo.server.edge.clients import admitted
from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.errors import ApiError, to_api_error
from octavo.server.edge.origins import allows_origin
from octavo.server.edge.reply import Event
from octavo.server.edge.sse import SURE_TO_FIT, stall_guard
from octavo.server.openai.chat import open_chat
from octavo.server.openai.completions import open_completion
from octavo.server.openai.protocol import ChatBody, CompletionBody, GenerationBody

__all__ = ["ROUTES"]

_HEARTBEAT_S = 30.0
_MAX_STREAMS = 256  # per socket


@dataclass(slots=True)
class _Stream:
    """One request of a socket. Once it is ending, its last messages are on the way and nothing may cancel them."""

    task: asyncio.Task[None]
    ending: bool = False


class StreamSocket:
    """The requests of one WebSocket, each in a task of its own."""

    def __init__(self, context: ServerContext, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._context = context
        self._socket = socket
        self._transport = transport
        self._streams: dict[str | int, _Stream] = {}

    async def run(self) -> None:
        """Serve messages until the socket closes, then abort what still runs."""
        try:
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._receive(message.data)
        finally:
            tasks = [stream.task for stream in self._streams.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self, raw: str | bytes) -> None:
        stream_id = None
        try:
            packed = raw.encode(errors="surrogatepass") if isinstance(raw, str) else raw
            data = await self._context.workers.run(len(packed), lambda: parse_json(packed))
            stream_id = _stream_id(data)
            if data.get("type") == "abort":
                await self._abort(stream_id)
            else:
                self._start(stream_id, data, len(packed))
        except ApiError as error:
            await self._send({"type": "error", "id": stream_id} | error.body())

    async def _abort(self, stream_id: str | int) -> None:
        """End a stream. An id that has just ended is not an error: its `done` is on the way."""
        await asyncio.sleep(0)  # a task that is cancelled before its first step does nothing, and sends no `done`
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.ending:
            stream.task.cancel()

    def _start(self, stream_id: str | int, data: dict[str, Any], size: int) -> None:
        if stream_id in self._streams:
            raise ApiError(400, f"the id {stream_id!r} is in use on this socket; wait for its 'done' or choose another", param="id")
        if len(self._streams) >= _MAX_STREAMS:
            raise ApiError(
                429, f"this socket has {_MAX_STREAMS} streams, the most allowed", kind="rate_limit_error", code="too_many_streams"
            )
        task = asyncio.ensure_future(self._serve(stream_id, data, size))
        self._streams[stream_id] = _Stream(task)
        task.add_done_callback(lambda _: self._streams.pop(stream_id))

    async def _serve(self, stream_id: str | int, data: dict[str, Any], size: int) -> None:
        aborted, failure = False, None
        try:
            await self._stream(stream_id, data, size)
        except asyncio.CancelledError:
            aborted = True
        except ConnectionError:
            return
        except Exception as error:
            failure = self._context.count(to_api_error(error))
        self._streams[stream_id].ending = True
        if failure is not None:
            await self._send({"type": "error", "id": stream_id} | failure.body())
        await self._send({"type": "done", "id": stream_id, "aborted": aborted})

    async def _stream(self, stream_id: str | int, data: dict[str, Any], size: int) -> None:
        if self._context.draining:
            raise ApiError(503, "the server is shutting down", kind="service_unavailable_error", code="shutting_down")
        kind: tuple[type[GenerationBody], Any] = (ChatBody, open_chat) if "messages" in data else (CompletionBody, open_completion)
        model, open_reply = kind
        body = await self._context.workers.run(size, lambda: parse_body(data, model))

        head = orjson.dumps({"type": "chunk", "id": stream_id})[:-1] + b',"data":'

        def send(event: Event) -> Awaitable[None]:
            return self._send_text(head + event.data + b"}")

        with admitted():
            async with open_reply(self._context, body) as reply:
                await reply.send_events(send)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._send_text(orjson.dumps(message))

    async def _send_text(self, message: bytes) -> None:
        if self._socket.closed:
            return
        transport = self._transport
        if transport is not None and transport.get_write_buffer_size() + len(message) < SURE_TO_FIT:
            await self._socket.send_frame(message, WSMsgType.TEXT)
            return
        with stall_guard(transport, self._context.stall_s):
            await self._socket.send_frame(message, WSMsgType.TEXT)


async def _open(request: web.Request) -> web.WebSocketResponse:
    context = request.app[CONTEXT]
    if not allows_origin(request, context.config):
        message = f"a page of {request.headers['Origin'][:80]} may not use this server's WebSocket; allow it with --cors-origins"
        raise ApiError(403, message, kind="permission_error", code="foreign_origin")
    socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, max_msg_size=context.config.max_body_bytes)
    await socket.prepare(request)
    context.sockets.add(socket)
    await StreamSocket(context, socket, request.transport).run()
    return socket


def _stream_id(data: dict[str, Any]) -> str | int:
    stream_id = data.pop("id", None)
    if isinstance(stream_id, (str, int)) and not isinstance(stream_id, bool):
        return stream_id
    raise ApiError(400, "id is required: a string or an integer that names the stream", param="id")


ROUTES = [web.get("/v1/stream", _open)]
