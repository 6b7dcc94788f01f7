"""From a body to a response that runs: the conversation it goes on from, the prompt, the document."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from octavo.server.edge.errors import ApiError
from octavo.server.openai.chat import prepare_chat
from octavo.server.responses.conversion import chat_body, input_items
from octavo.server.responses.event_log import EventLog
from octavo.server.responses.live_response import LiveResponse
from octavo.server.responses.response_events import ResponseEvents
from octavo.server.responses.tools import client_tools, usable_tools

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext
    from octavo.server.openai.chat import PreparedChat
    from octavo.server.responses.protocol import InputTokensBody, Item, ResponsesBody
    from octavo.server.responses.store import ResponseStore

__all__ = ["FindResponse", "conversation", "create_response"]

FindResponse = Callable[[str], LiveResponse | None]


def conversation(store: ResponseStore, body: InputTokensBody, find: FindResponse) -> tuple[list[Item], int]:
    """Return all items that `body` is about, and how many of them come from earlier responses.

    Raises:
        ApiError, InvalidRequestError: an earlier response or an item that is not there, or cannot be read.
    """
    earlier: tuple[Item, ...] = ()
    if body.previous_response_id is not None:
        earlier = _previous(body.previous_response_id, find).conversation
    known = {item["id"]: item for item in earlier}
    items = input_items(body, lambda item_id: known.get(item_id) or store.item(item_id))
    if not earlier and not items:
        raise ApiError(400, "input is required: a text or a list of items", param="input", code="invalid_value")
    return [*earlier, *items], len(earlier)


def _previous(response_id: str, find: FindResponse) -> LiveResponse:
    response, where = find(response_id), "previous_response_id"
    if response is None:
        message = f"previous_response_id: no response {response_id[:80]!r} is stored; send the whole conversation as input"
        raise ApiError(400, message, param=where, code="previous_response_not_found")
    if not response.done:
        raise ApiError(400, f"previous_response_id: the response {response_id!r} is still in progress", param=where, code="invalid_value")
    return response


async def create_response(
    context: ServerContext,
    store: ResponseStore,
    body: ResponsesBody,
    *,
    find: FindResponse | None = None,
    generate: bool = True,
) -> LiveResponse:
    """Return a response that has begun and that `store` keeps.

    Args:
        find: finds the response to go on from; default: in `store`.
        generate: False: only compute the prompt, for the prefix cache.

    Raises:
        ApiError, InvalidRequestError, and what the engine raises: nothing has begun then.
    """
    items, num_earlier = conversation(store, body, find or store.previous)
    chat = await prepare_chat(context, chat_body(body, items), f"resp_{uuid4().hex}")
    request = chat.request
    if not generate:
        request = replace(request, params=replace(request.params, max_tokens=1, min_tokens=0))
    events = ResponseEvents(_document(body, chat), chat.open_parser(), len(chat.prompt.token_ids), client_tools(body), generate=generate)
    response = LiveResponse(body, items, num_earlier, events, context.config.resume_s, EventLog())
    await response.start(context.engine, request)
    store.add(response)
    return response


def _document(body: ResponsesBody, chat: PreparedChat) -> dict[str, Any]:
    params = chat.request.params
    reasoning = body.reasoning
    return {
        "id": chat.request.request_id,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "queued" if body.background else "in_progress",
        "background": body.background,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata,
        "model": chat.model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": reasoning.effort if reasoning else None, "summary": None},
        "service_tier": "default",
        "store": body.store,
        "temperature": params.temperature,
        "text": {"format": _format(body)},
        "tool_choice": body.tool_choice,
        "tools": [tool.model_dump(exclude_unset=True) for tool in usable_tools(body)],
        "top_logprobs": 0,
        "top_p": params.top_p,
        "truncation": body.truncation,
        "usage": None,
        "user": None,
    }


def _format(body: ResponsesBody) -> dict[str, Any]:
    form = body.text.format if body.text is not None else None
    return {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_unset=True)
