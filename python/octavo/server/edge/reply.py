"""One API request on its way back: deltas in, OpenAI documents out, streamed or whole.

`Reply` is what completions and chat have in common (order, usage, the envelope); a `Shape` is what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from aiohttp import HttpVersion11, web

from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.sse import Send, send_events
from octavo.types import Delta

if TYPE_CHECKING:
    from octavo.server.edge.generation import Generation, Usage
    from octavo.server.edge.workers import Workers
    from octavo.server.openai.protocol import GenerationBody

__all__ = ["OpenReply", "Reply", "Shape", "answer"]

Document = dict[str, Any]
OpenReply = Callable[[ServerContext, Any], "AbstractAsyncContextManager[Reply]"]


class Shape(Protocol):
    """Forms documents without their envelope (id, object, created, model)."""

    object_name: str
    chunk_object_name: str

    def chunks(self, prompt_index: int, delta: Delta) -> list[Document]:
        """Return the stream documents that `delta` leads to, in order; none when it says nothing yet."""
        ...

    def whole(self, finished: Sequence[tuple[int, Delta]]) -> Document:
        """Return the one document of a request that is not streamed, from (prompt index, everything about one choice), in order."""
        ...


class Reply:
    """The documents of one request. Await `send_chunks` or `whole`, once."""

    def __init__(
        self, body: GenerationBody, generation: Generation, usage: Usage, shape: Shape, envelope: Document, workers: Workers
    ) -> None:
        self._workers = workers
        self._body = body
        self._generation = generation
        self._usage = usage
        self._shape = shape
        self._envelope = envelope

    @property
    def request_id(self) -> str:
        """The `id` of the documents."""
        return self._envelope["id"]

    async def send_chunks(self, send: Send) -> None:
        """Send stream documents as JSON in the order of generation, then the usage document where asked for."""
        include_usage, continuous_usage = self._body.include_usage, self._body.continuous_usage
        envelope = orjson.dumps(self._envelope | {"object": self._shape.chunk_object_name})[:-1] + b","  # {"id":...,"model":...,
        async for prompt_index, delta in self._generation:
            before = self._usage.body() if continuous_usage else None
            self._usage.count(prompt_index, delta)
            for document in await self._workers.run(_size(delta), partial(self._shape.chunks, prompt_index, delta)):
                if include_usage:
                    document["usage"] = before if _opens(document) or not continuous_usage else self._usage.body()
                await send(envelope + orjson.dumps(document)[1:])
        if include_usage:
            await send(envelope + orjson.dumps({"choices": [], "usage": self._usage.body()})[1:])

    async def whole(self) -> bytes:
        """Return the whole answer as one JSON document, choices in order of prompt and index."""
        deltas: dict[tuple[int, int], list[Delta]] = {}
        async for prompt_index, delta in self._generation:
            self._usage.count(prompt_index, delta)
            deltas.setdefault((prompt_index, delta.index), []).append(delta)
        finished = [(key[0], Delta.joined(deltas[key])) for key in sorted(deltas)]
        envelope = self._envelope | {"object": self._shape.object_name, "system_fingerprint": None}

        def write() -> bytes:
            return orjson.dumps(envelope | self._shape.whole(finished) | {"usage": self._usage.body()})

        return await self._workers.run(sum(_size(delta) for _, delta in finished), write)


async def answer(request: web.Request, body_model: type[GenerationBody], open_reply: OpenReply) -> web.StreamResponse:
    """Serve a generation endpoint: read the body, open the reply, send it as events or as one JSON document."""
    body = await read_body(request, body_model)
    context = request.app[CONTEXT]
    async with open_reply(context, body) as reply:
        headers = {"X-Request-Id": reply.request_id}
        if body.stream:
            return await send_events(request, reply.send_chunks, stall_s=context.stall_s, headers=headers)
        with context.half_closed.probing(request.transport, partial(_say_continue, request)):
            document = await reply.whole()
    return web.Response(body=document, content_type="application/json", headers=headers)


def _size(delta: Delta) -> int:
    """Return about how many parts the documents of `delta` have: a token with log-probabilities has many."""
    rows = [*(delta.logprobs or ()), *(delta.prompt_logprobs or ())]
    return len(delta.token_ids) + sum(8 + 8 * len(row.top) for row in rows if row is not None)


def _say_continue(request: web.Request) -> None:
    """Send an interim response, which HTTP/1.1 clients read over."""
    if request.transport is not None and request.version >= HttpVersion11:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _opens(document: Document) -> bool:
    """Whether a chunk has the role and no token yet."""
    return any("role" in choice.get("delta", ()) for choice in document["choices"])
