"""/v1/responses: create, retrieve (whole, or the stream from any event on), cancel, delete, input items, input tokens."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
from aiohttp import web

from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError
from octavo.server.edge.reply import Event, SendEvent, awaiting
from octavo.server.edge.request_ids import name_request
from octavo.server.edge.sse import send_events
from octavo.server.openai.chat import prepare_chat
from octavo.server.responses.conversion import chat_body
from octavo.server.responses.create import conversation, create_response
from octavo.server.responses.protocol import InputTokensBody, ResponsesBody
from octavo.server.responses.store import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.server.responses.live_response import LiveResponse

__all__ = ["ROUTES"]

_MAX_LISTED = 100


class LogReader:
    """The stream of a response from an event on: an `EventSource`, and its own `Ending`."""

    last_word: bytes | None = None

    def __init__(self, response: LiveResponse, number: int) -> None:
        self._response = response
        self._number = number

    @property
    def shape(self) -> LogReader:
        """See `EventSource`."""
        return self

    async def send_events(self, send: SendEvent) -> None:
        """See `EventSource`."""
        async for event in self._response.stream(self._number):
            await send(event)
            self._number += 1

    def failed(self, error: ApiError) -> Sequence[Event]:
        """See `Ending`."""
        fields = {"code": error.code, "message": error.message, "param": error.param, "sequence_number": self._number}
        return [Event(orjson.dumps({"type": "error"} | fields), "error")]


async def _create(request: web.Request) -> web.StreamResponse:
    body = await read_body(request, ResponsesBody)
    response = await create_response(request.app[CONTEXT], request.app[RESPONSES], body)
    if body.stream:
        return await _stream(request, response, 0)
    if not body.background:
        try:
            with response.read(), awaiting(request):
                await response.wait()
        finally:
            response.end("cancelled")  # who went away without knowing its id cannot come back
    return _json(request, response.document, response.id)


async def _stream(request: web.Request, response: LiveResponse, number: int) -> web.StreamResponse:
    name_request(request, response.id)
    return await send_events(request, LogReader(response, number), stall_s=request.app[CONTEXT].stall_s)


async def _retrieve(request: web.Request) -> web.StreamResponse:
    response = request.app[RESPONSES].get(request.match_info["id"])
    if request.query.get("stream", "false").lower() in ("true", "1"):
        number = _number(request, "starting_after", -1, least=-1) + 1
        response.log.read(number)  # an answer that says so, rather than a stream
        return await _stream(request, response, number)
    return _json(request, _kept(response).document, response.id)


async def _delete(request: web.Request) -> web.Response:
    response = _kept(request.app[RESPONSES].get(request.match_info["id"]))
    request.app[RESPONSES].remove(response.id)
    return _json(request, {"id": response.id, "object": "response", "deleted": True}, response.id)


async def _cancel(request: web.Request) -> web.Response:
    """A response that is over stays as it is."""
    response = request.app[RESPONSES].get(request.match_info["id"])
    response.end("cancelled")
    with suppress(ApiError):  # the document says so
        await response.wait()
    return _json(request, response.document, response.id)


async def _input_items(request: web.Request) -> web.Response:
    response = _kept(request.app[RESPONSES].get(request.match_info["id"]))
    order, after = request.query.get("order", "desc"), request.query.get("after")
    limit = _number(request, "limit", 20, least=1, most=_MAX_LISTED)
    items = list(response.own_items)
    if order not in ("asc", "desc"):
        raise ApiError(400, "order must be 'asc' or 'desc'", param="order", code="invalid_value")
    if order == "desc":
        items.reverse()
    if after is not None:
        places = [index for index, item in enumerate(items) if item["id"] == after]
        if not places:
            raise ApiError(400, f"after: the response has no item {after[:80]!r}", param="after", code="invalid_value")
        items = items[places[0] + 1 :]
    page = items[:limit]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return _json(request, {"object": "list", "data": page, "has_more": len(items) > limit, **ends}, response.id)


async def _input_tokens(request: web.Request) -> web.Response:
    body = await read_body(request, InputTokensBody)
    store = request.app[RESPONSES]
    items, _ = conversation(store, body, store.previous)
    chat = await prepare_chat(request.app[CONTEXT], chat_body(body, items), f"count_{uuid4().hex}")
    return web.json_response({"object": "response.input_tokens", "input_tokens": len(chat.prompt.token_ids)})


def _kept(response: LiveResponse) -> LiveResponse:
    if not response.body.store:
        message = f"the response {response.id!r} is not stored (store: false); only its stream can be resumed, with stream=true"
        raise ApiError(404, message, param="response_id", code="response_not_found")
    return response


def _number(request: web.Request, name: str, default: int, *, least: int, most: int = 2**53) -> int:
    try:
        number = int(request.query.get(name, default))
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ApiError(400, f"{name} must be a whole number from {least} to {most}", param=name, code="invalid_value")
    return number


def _json(request: web.Request, document: Any, response_id: str) -> web.Response:
    name_request(request, response_id)
    return web.Response(body=orjson.dumps(document), content_type="application/json")


ROUTES = [
    web.post("/v1/responses", _create),
    web.post("/v1/responses/input_tokens", _input_tokens),
    web.get("/v1/responses/{id}", _retrieve),
    web.delete("/v1/responses/{id}", _delete),
    web.post("/v1/responses/{id}/cancel", _cancel),
    web.get("/v1/responses/{id}/input_items", _input_items),
]
