"""POST /api/chat and /api/generate: one JSON document a line, or one for all."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
from aiohttp import web

from octavo.parsers import CallArguments, CallStart, Event, Parser, Reasoning, Text
from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import to_api_error
from octavo.server.edge.generation import Generation
from octavo.server.edge.sse import stall_guard
from octavo.server.ollama.conversion import chat_of, of_generate
from octavo.server.ollama.protocol import ChatBody, GenerateBody
from octavo.server.openai import protocol as openai
from octavo.server.openai.chat import prepare_chat
from octavo.server.openai.completions import prepare_completion
from octavo.types import Delta, FinishReason, GenerationRequest

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext

__all__ = ["ROUTES"]

_NDJSON = "application/x-ndjson"
_NS = 1_000_000_000


class _Lines:
    """The documents of one answer.

    Args:
        chat: whether texts stand in a `message` (/api/chat) or under `response` (/api/generate).
    """

    def __init__(self, model: str, num_prompt_tokens: int, parser: Parser | None, *, chat: bool) -> None:
        self._model = model
        self._num_prompt_tokens = num_prompt_tokens
        self._parser = parser
        self._chat = chat
        self._started_s = time.perf_counter()
        self._first_s: float | None = None
        self._num_tokens = 0
        self._calls: list[dict[str, Any]] = []

    def of(self, delta: Delta) -> list[dict[str, Any]]:
        """The documents that the next delta leads to. Calls come whole, when the answer ends: Ollama has no pieces of them."""
        self._first_s = self._first_s or time.perf_counter()
        self._num_tokens += len(delta.token_ids)
        ends = delta.finish_reason is not None
        events = self._parsed(delta.text, ends=ends)
        text = "".join(event.text for event in events if isinstance(event, Text))
        thinking = "".join(event.text for event in events if isinstance(event, Reasoning))
        self._gather(events)
        documents = [self._document(text, thinking)] if text or thinking else []
        if ends:
            calls = [{"function": {"name": call["name"], "arguments": _object(call["text"])}} for call in self._calls]
            if calls:
                documents.append(self._document("", "", calls))
            documents.append(self._document("", "") | self._end(delta))
        return documents

    def _parsed(self, text: str, *, ends: bool) -> list[Event]:
        if self._parser is None:
            return [Text(text)] if text else []
        return self._parser.push(text) + (self._parser.finish() if ends else [])

    def _gather(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, CallStart):
                self._calls.append({"name": event.name, "text": ""})
            elif isinstance(event, CallArguments):
                self._calls[event.index]["text"] += event.text

    def _document(self, text: str, thinking: str, calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        head = {"model": self._model, "created_at": datetime.now(timezone.utc).isoformat(), "done": False}
        more = {"thinking": thinking} if thinking else {}
        if not self._chat:
            return head | {"response": text} | more
        return head | {"message": {"role": "assistant", "content": text, **more, **({"tool_calls": calls} if calls else {})}}

    def _end(self, delta: Delta) -> dict[str, Any]:
        now_s, first_s = time.perf_counter(), self._first_s or time.perf_counter()
        return {
            "done": True,
            "done_reason": "length" if delta.finish_reason is FinishReason.LENGTH else "stop",
            "total_duration": int((now_s - self._started_s) * _NS),
            "load_duration": 0,
            "prompt_eval_count": self._num_prompt_tokens,
            "prompt_eval_duration": int((first_s - self._started_s) * _NS),
            "eval_count": self._num_tokens,
            "eval_duration": int((now_s - first_s) * _NS),
        }


def _object(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


async def _chat(request: web.Request) -> web.StreamResponse:
    body = await read_body(request, ChatBody)
    chat = await prepare_chat(request.app[CONTEXT], chat_of(body), f"ollama-{uuid4().hex}")
    return await _answer(request, body, chat.request, _Lines(body.model, len(chat.prompt.token_ids), chat.open_parser(), chat=True))


async def _generate(request: web.Request) -> web.StreamResponse:
    body = await read_body(request, GenerateBody)
    context, request_id, wanted = request.app[CONTEXT], f"ollama-{uuid4().hex}", of_generate(body)
    if isinstance(wanted, openai.ChatBody):
        chat = await prepare_chat(context, wanted, request_id)
        return await _answer(request, body, chat.request, _Lines(body.model, len(chat.prompt.token_ids), chat.open_parser(), chat=False))
    [made] = (await prepare_completion(context, wanted, request_id)).requests
    return await _answer(request, body, made, _Lines(body.model, len(made.prompt_token_ids), None, chat=False))


async def _answer(request: web.Request, body: ChatBody | GenerateBody, wanted: GenerationRequest, lines: _Lines) -> web.StreamResponse:
    context: ServerContext = request.app[CONTEXT]
    async with Generation(context.engine, [wanted]) as generation:
        if body.stream:
            return await _stream(request, _documents(generation, lines))
        documents = [document async for document in _documents(generation, lines)]
    return web.Response(body=orjson.dumps(_merged(documents)), content_type="application/json")


async def _documents(generation: Generation, lines: _Lines) -> AsyncIterator[dict[str, Any]]:
    async for _, delta in generation:
        for document in lines.of(delta):
            yield document


async def _stream(request: web.Request, documents: AsyncIterator[dict[str, Any]]) -> web.StreamResponse:
    context: ServerContext = request.app[CONTEXT]
    response = web.StreamResponse(headers={"Content-Type": _NDJSON})
    await response.prepare(request)
    try:
        async for document in documents:
            with stall_guard(request.transport, context.stall_s):
                await response.write(orjson.dumps(document) + b"\n")
    except ConnectionError:
        return response
    except Exception as error:
        await response.write(orjson.dumps({"error": to_api_error(error).message}) + b"\n")
    await response.write_eof()
    return response


def _merged(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """The documents of a stream as one: texts joined, the rest from the last."""
    last = documents[-1]
    if "response" in last:
        thinking = "".join(document.get("thinking", "") for document in documents)
        joined = {"response": "".join(document["response"] for document in documents)}
        return last | joined | ({"thinking": thinking} if thinking else {})
    messages = [document["message"] for document in documents]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(message["content"] for message in messages)}
    thinking = "".join(message.get("thinking", "") for message in messages)
    calls = [call for message in messages for call in message.get("tool_calls", [])]
    return last | {"message": message | ({"thinking": thinking} if thinking else {}) | ({"tool_calls": calls} if calls else {})}


ROUTES = [web.post("/api/chat", _chat), web.post("/api/generate", _generate)]
