"""GET /v1/responses: the Responses API over one WebSocket.

The client sends `response.create` with the fields of POST /v1/responses, and gets the events of its stream. `stream_id` names a lane:
requests of a lane run one after the other, lanes run at the same time, and each event repeats its lane. With `generate: false` only
the prompt is computed, for the prefix cache. `previous_response_id` also finds the socket's latest responses that are not stored.

`response.steer` gives a running response new input: it ends as incomplete, with reason `steered`, and a successor goes on with the
input. One that calls a tool is let finish; the input then waits for the next `response.create` that goes on from it.

Errors are events. The socket closes after an hour; whatever runs on it is aborted when it closes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
from aiohttp import WSMsgType, web

from octavo.server.edge.body import parse_body, parse_json
from octavo.server.edge.clients import admitted
from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.errors import ApiError, to_api_error
from octavo.server.edge.origins import allows_origin
from octavo.server.edge.sse import stall_guard
from octavo.server.responses.create import create_response
from octavo.server.responses.protocol import ResponsesBody
from octavo.server.responses.steering import required_input, steering_items
from octavo.server.responses.store import RESPONSES, ResponseStore

if TYPE_CHECKING:
    from octavo.server.responses.live_response import LiveResponse
    from octavo.server.responses.protocol import Item

__all__ = ["ROUTES"]

_HEARTBEAT_S = 30.0
_MOST_S = 3600.0
_MAX_LANES = 64
_MAX_QUEUED = 64  # requests of a lane
_MAX_HELD = 64  # responses that the socket remembers
_MAX_STEERS = 16  # of a response
_MAX_STREAM_ID = 200  # characters


@dataclass(slots=True)
class _Lane:
    """One after the other."""

    stream_id: str | None
    queue: asyncio.Queue[tuple[ResponsesBody, bool]] = field(default_factory=lambda: asyncio.Queue(_MAX_QUEUED))
    task: asyncio.Task[None] | None = None
    running: LiveResponse | None = None


@dataclass(slots=True)
class _Steer:
    """Input that waits for the end of its response."""

    steer_id: str
    items: list[Item]


class ResponsesSocket:
    """The lanes of one WebSocket."""

    def __init__(self, context: ServerContext, store: ResponseStore, socket: web.WebSocketResponse, transport: asyncio.Transport | None):
        self._context = context
        self._store = store
        self._socket = socket
        self._transport = transport
        self._lanes: dict[str | None, _Lane] = {}
        self._held: OrderedDict[str, LiveResponse] = OrderedDict()
        self._steers: dict[str, list[_Steer]] = {}

    async def run(self) -> None:
        """Serve messages until the socket closes, then abort what still runs."""
        timer = asyncio.get_running_loop().call_later(_MOST_S, lambda: expiry.append(asyncio.ensure_future(self._expire())))
        expiry: list[asyncio.Future[None]] = []
        try:
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._receive(message.data)
        finally:
            timer.cancel()
            await self._abort()

    async def _abort(self) -> None:
        lanes = list(self._lanes.values())
        for lane in lanes:
            if lane.task is not None:
                lane.task.cancel()
            if lane.running is not None:
                lane.running.end("cancelled")
        await asyncio.gather(*(lane.task for lane in lanes if lane.task is not None), return_exceptions=True)

    async def _expire(self) -> None:
        message = "this socket is an hour old; open another and go on with previous_response_id"
        await self._send_error(ApiError(400, message, code="websocket_connection_limit_reached"), None)
        await self._socket.close()

    async def _receive(self, raw: str | bytes) -> None:
        stream_id = None
        try:
            packed = raw.encode(errors="surrogatepass") if isinstance(raw, str) else raw
            data = await self._context.workers.run(len(packed), lambda: parse_json(packed))
            kind = data.pop("type", None)
            if kind == "response.steer":
                await self._steer(data)
                return
            stream_id = _stream_id(data)
            if kind != "response.create":
                raise ApiError(400, "type must be 'response.create' or 'response.steer'", param="type", code="invalid_value")
            await self._enqueue(stream_id, data, len(packed))
        except Exception as error:
            await self._send_error(to_api_error(error), stream_id)

    async def _enqueue(self, stream_id: str | None, data: dict[str, Any], size: int) -> None:
        generate = data.pop("generate", None)
        if generate not in (None, True, False):
            raise ApiError(400, "generate must be true or false", param="generate", code="invalid_value")
        if data.get("background"):
            raise ApiError(400, "background is not for a WebSocket; use POST /v1/responses", param="background", code="invalid_value")
        body = await self._context.workers.run(size, lambda: parse_body(data, ResponsesBody))
        if stream_id not in self._lanes:
            if len(self._lanes) >= _MAX_LANES:
                raise ApiError(429, f"this socket has {_MAX_LANES} lanes, the most allowed", kind="rate_limit_error", code="too_many_lanes")
            lane = self._lanes[stream_id] = _Lane(stream_id)
            lane.task = asyncio.create_task(self._serve(lane))
        try:
            self._lanes[stream_id].queue.put_nowait((body, generate is not False))
        except asyncio.QueueFull:
            message = f"{_MAX_QUEUED} requests wait in this lane, the most allowed"
            raise ApiError(429, message, kind="rate_limit_error", code="lane_full") from None

    async def _serve(self, lane: _Lane) -> None:
        while True:
            body, generate = await lane.queue.get()
            try:
                successor: ResponsesBody | None = body
                while successor is not None:
                    with admitted():
                        successor = await self._answer(lane, successor, generate=generate)
            except ConnectionError:
                return
            except Exception as error:
                await self._send_error(self._context.count(to_api_error(error)), lane.stream_id)

    async def _answer(self, lane: _Lane, body: ResponsesBody, *, generate: bool) -> ResponsesBody | None:
        """Send the events of one response; return the body of its successor where it was steered."""
        if self._context.draining:
            raise ApiError(503, "the server is shutting down", kind="service_unavailable_error", code="shutting_down")
        body = self._with_steers(body)
        response = await create_response(self._context, self._store, body, find=self._find, generate=generate)
        lane.running = response
        self._hold(response)
        if body.previous_response_id is not None:
            self._steers.pop(body.previous_response_id, None)  # they are part of this one now
        try:
            async for event in response.stream():
                await self._send(event.data, lane.stream_id)
        finally:
            lane.running = None
        return await self._after(lane, response)

    async def _after(self, lane: _Lane, response: LiveResponse) -> ResponsesBody | None:
        if response.id not in self._steers:
            return None
        required = required_input(response.document)
        if not required:
            return response.body.model_copy(update={"previous_response_id": response.id, "input": []})
        for steer in self._steers[response.id]:
            told = {"id": steer.steer_id, "previous_response_id": response.id}
            fields = {"reason": "waiting_for_required_input", "required_input": required, "steer": told}
            event = {"type": "response.steer.pending", "sequence_number": response.log.end} | fields
            await self._send(orjson.dumps(event), lane.stream_id)
        return None

    def _with_steers(self, body: ResponsesBody) -> ResponsesBody:
        """Put the input that waits for a response in front of the one that goes on from it."""
        steers = self._steers.get(body.previous_response_id or "")
        if not steers:
            return body
        given = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input
        return body.model_copy(update={"input": [*(item for steer in steers for item in steer.items), *given]})

    async def _steer(self, data: dict[str, Any]) -> None:
        target = data.get("previous_response_id")
        lane = next((lane for lane in self._lanes.values() if lane.running is not None and lane.running.id == target), None)
        steers = self._steers.get(str(target), [])
        try:
            items = steering_items(data)
            if lane is None or lane.running is None or lane.running.done:
                over = target in self._held
                code = "response_already_completed" if over else "response_not_found"
                message = "the response is over; send response.create" if over else "no such response runs on this socket"
                raise ApiError(400, message, param="previous_response_id", code=code)
            if len(steers) >= _MAX_STEERS:
                raise ApiError(400, f"{_MAX_STEERS} steering inputs wait already", code="too_many_pending_steers")
        except ApiError as error:
            await self._refuse_steer(error, data, lane)
            return
        steer = _Steer(f"steer_{uuid4().hex}", items)
        self._steers.setdefault(lane.running.id, []).append(steer)
        lane.running.note("response.steer.accepted", {"steer": {"id": steer.steer_id, "previous_response_id": target}})
        if not lane.running.called:
            lane.running.end("steered")

    async def _refuse_steer(self, error: ApiError, data: dict[str, Any], lane: _Lane | None) -> None:
        told = {"type": "invalid_request_error", "code": error.code, "message": error.message}
        steer = {"previous_response_id": data.get("previous_response_id"), "input": data.get("input")}
        event = {"type": "response.steer.failed", "sequence_number": 0, "error": told, "steer": steer}
        await self._send(orjson.dumps(event), None if lane is None else lane.stream_id)

    def _find(self, response_id: str) -> LiveResponse | None:
        return self._held.get(response_id) or self._store.previous(response_id)

    def _hold(self, response: LiveResponse) -> None:
        self._held[response.id] = response
        if len(self._held) > _MAX_HELD:
            dropped, _ = self._held.popitem(last=False)
            self._steers.pop(dropped, None)

    async def _send_error(self, error: ApiError, stream_id: str | None) -> None:
        told = error.body()["error"]
        event = {"type": "error", "status": error.status, "sequence_number": 0} | error.body()
        await self._send(orjson.dumps(event | {name: told[name] for name in ("code", "message", "param")}), stream_id)

    async def _send(self, event: bytes, stream_id: str | None) -> None:
        if self._socket.closed:
            return
        if stream_id is not None:
            event = b'%b,"stream_id":%b}' % (event[:-1], orjson.dumps(stream_id))
        with stall_guard(self._transport, self._context.stall_s):
            await self._socket.send_str(event.decode())


async def _open(request: web.Request) -> web.WebSocketResponse:
    context = request.app[CONTEXT]
    if not allows_origin(request, context.config):
        message = f"a page of {request.headers['Origin'][:80]} may not use this server's WebSocket; allow it with --cors-origins"
        raise ApiError(403, message, kind="permission_error", code="foreign_origin")
    socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, max_msg_size=context.config.max_body_bytes)
    await socket.prepare(request)
    context.sockets.add(socket)
    await ResponsesSocket(context, request.app[RESPONSES], socket, request.transport).run()
    return socket


def _stream_id(data: dict[str, Any]) -> str | None:
    stream_id = data.pop("stream_id", None)
    if stream_id is None or (isinstance(stream_id, str) and 0 < len(stream_id) <= _MAX_STREAM_ID and stream_id.isprintable()):
        return stream_id
    raise ApiError(400, f"stream_id must be a text of 1 to {_MAX_STREAM_ID} characters", param="stream_id", code="invalid_value")


ROUTES = [web.get("/v1/responses", _open)]
