"""POST /v1/chat/completions, and what every API of conversations shares with it: a `ChatBody` made ready for the engine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from aiohttp import web

from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.generation import Generation, Prompt, Usage
from octavo.server.edge.reply import Reply, respond
from octavo.server.openai.best_of import shown_choices
from octavo.server.openai.chat_shape import ChatShape
from octavo.server.openai.models import check_model
from octavo.server.openai.prompts import chat_prompt, truncated
from octavo.server.openai.protocol import ChatBody
from octavo.server.openai.sampling_params import sampling_params, with_grammar
from octavo.server.openai.stream_shape import StreamShape
from octavo.types import GenerationRequest

if TYPE_CHECKING:
    from octavo.parsers import Parser
    from octavo.server.edge.context import ServerContext

__all__ = ["ROUTES", "PreparedChat", "open_chat", "prepare_chat"]


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """A conversation, rendered and tokenized.

    Attributes:
        model: the model's name as the answer gives it.
        open_parser: makes the parser of one choice's text.
    """

    model: str
    prompt: Prompt
    request: GenerationRequest
    open_parser: Callable[[], Parser | None]


async def prepare_chat(context: ServerContext, body: ChatBody, request_id: str) -> PreparedChat:
    """Render and tokenize `body`. Raises what makes it unservable: `ApiError`, `InvalidRequestError`."""
    model = check_model(context, body.model)
    tools = body.usable_tools
    params = sampling_params(
        body,
        max_tokens=body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        prompt_logprobs=body.prompt_logprobs,
    )
    prompt = await chat_prompt(
        context,
        body.messages,
        body,
        add_special_tokens=body.add_special_tokens is True,  # templates write their own
        variables={"reasoning_effort": body.reasoning_effort},
        tools=tools,
    )
    prompt = truncated(prompt, body.truncate_prompt_tokens, context.engine.info.max_model_len)
    forced = body.forced_tools
    grammar = (
        (context.speech.call_grammar(forced, context.engine.tokenizer, prompt.text or "", many=body.many_calls), "tools")
        if forced
        else None
    )
    params, grammar_field = with_grammar(body, params, grammar)
    open_parser = partial(context.speech.parser, prompt.text or "", tools)
    if open_parser() is not None:
        params = replace(params, skip_special_tokens=False)  # what marks a call or a thought may be a special token
    request = GenerationRequest(
        request_id, prompt.token_ids, params, body.priority, body.cache_salt, grammar_field, pictures=prompt.pictures, media=prompt.media
    )
    return PreparedChat(model, prompt, request, open_parser)


@asynccontextmanager
async def open_chat(context: ServerContext, body: ChatBody) -> AsyncIterator[Reply]:
    """Prepare and submit `body`; leaving the block aborts it if it is unfinished."""
    chat = await prepare_chat(context, body, f"chatcmpl-{uuid4().hex}")
    engine = context.engine
    request_id = chat.request.request_id
    envelope = {"id": request_id, "created": int(time.time()), "model": chat.model}
    choices = ChatShape(engine.tokenizer, body, chat.prompt, chat.open_parser)
    async with Generation(engine, [chat.request]) as generation:
        usage = Usage([chat.prompt])
        shown = shown_choices(generation, body, usage, reports=body.logprobs)
        yield Reply(request_id, shown, StreamShape(body, choices, usage, envelope), context.workers)


async def _chat(request: web.Request) -> web.StreamResponse:
    body = await read_body(request, ChatBody)
    async with open_chat(request.app[CONTEXT], body) as reply:
        return await respond(request, reply, stream=body.stream)


ROUTES = [web.post("/v1/chat/completions", _chat)]
