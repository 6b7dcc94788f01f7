"""One API request on its way back: deltas in, OpenAI documents out, streamed or whole.

`Reply` is what completions and chat have in common (order, usage, the envelope); a `Shape` is what differs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from aiohttp import web

from octavo.server.body import read_body
from octavo.server.context import CONTEXT, ServerContext
from octavo.server.sse import send_events
from octavo.types import Delta

if TYPE_CHECKING:
    from octavo.server.generation import Generation, Usage
    from octavo.server.protocol import GenerationBody

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
    """The documents of one request. Consume `chunks` or `whole`, once."""

    def __init__(self, body: GenerationBody, generation: Generation, usage: Usage, shape: Shape, envelope: Document) -> None:
        self._body = body
        self._generation = generation
        self._usage = usage
        self._shape = shape
        self._envelope = envelope

    @property
    def request_id(self) -> str:
        """The `id` of the documents."""
        return self._envelope["id"]

    async def chunks(self) -> AsyncGenerator[Document, None]:
        """Yield stream documents in the order of generation, then the usage document where asked for."""
        envelope = self._envelope | {"object": self._shape.chunk_object_name}
        async for prompt_index, delta in self._generation:
            self._usage.count(prompt_index, delta)
            for document in self._shape.chunks(prompt_index, delta):
                if self._body.include_usage:
                    document["usage"] = self._usage.body() if self._body.continuous_usage else None
                yield envelope | document
        if self._body.include_usage:
            yield envelope | {"choices": [], "usage": self._usage.body()}

    async def whole(self) -> Document:
        """Return the whole answer as one document, choices in order of prompt and index."""
        deltas: dict[tuple[int, int], list[Delta]] = {}
        async for prompt_index, delta in self._generation:
            self._usage.count(prompt_index, delta)
            deltas.setdefault((prompt_index, delta.index), []).append(delta)
        finished = [(key[0], _joined(deltas[key])) for key in sorted(deltas)]
        document = self._shape.whole(finished)
        return self._envelope | {"object": self._shape.object_name} | document | {"usage": self._usage.body()}


def _joined(deltas: Sequence[Delta]) -> Delta:
    """Fold the deltas of one choice into one."""
    first, last = deltas[0], deltas[-1]
    return Delta(
        index=first.index,
        text="".join(delta.text for delta in deltas),
        token_ids=[token_id for delta in deltas for token_id in delta.token_ids],
        logprobs=None if first.logprobs is None else [entry for delta in deltas for entry in delta.logprobs or ()],
        finish_reason=last.finish_reason,
        stop_reason=last.stop_reason,
        prompt_logprobs=first.prompt_logprobs,
    )


async def answer(request: web.Request, body_model: type[GenerationBody], open_reply: OpenReply) -> web.StreamResponse:
    """Serve a generation endpoint: read the body, open the reply, send it as events or as one JSON document."""
    body = await read_body(request, body_model)
    context = request.app[CONTEXT]
    async with open_reply(context, body) as reply:
        headers = {"X-Request-Id": reply.request_id}
        if body.stream:
            return await send_events(request, reply.chunks(), stall_s=context.stall_s, headers=headers)
        document = await reply.whole()
    return web.Response(body=orjson.dumps(document), content_type="application/json", headers=headers)
