"""POST /v1/completions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from aiohttp import web

from octavo.errors import InvalidRequestError
from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.generation import Generation, Prompt, Usage
from octavo.server.edge.reply import Reply, respond
from octavo.server.openai.best_of import shown_choices
from octavo.server.openai.completion_shape import CompletionShape
from octavo.server.openai.fill_in_middle import with_suffix
from octavo.server.openai.models import check_model
from octavo.server.openai.prompt_embeds import embedded_prompts
from octavo.server.openai.prompts import completion_prompts, truncated
from octavo.server.openai.protocol import CompletionBody
from octavo.server.openai.sampling_params import sampling_params, with_grammar
from octavo.server.openai.stream_shape import StreamShape
from octavo.types import GenerationRequest, SamplingParams

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext

__all__ = ["ROUTES", "PreparedCompletion", "open_completion", "prepare_completion"]


@dataclass(frozen=True, slots=True)
class PreparedCompletion:
    """Prompts, tokenized, and the request that each has become."""

    model: str
    prompts: list[Prompt]
    requests: list[GenerationRequest]


async def prepare_completion(context: ServerContext, body: CompletionBody, request_id: str) -> PreparedCompletion:
    """Tokenize the prompts of `body`. Raises what makes them unservable: `ApiError`, `InvalidRequestError`."""
    model = check_model(context, body.model)
    params, grammar_field = with_grammar(body, _params(body))
    wanted = with_suffix(context.engine.tokenizer, body.prompt, body.suffix) if body.suffix else body.prompt
    prompts = await embedded_prompts(context, body.prompt_embeds)  # they come first, as at other servers
    prompts += await completion_prompts(context, wanted, add_special_tokens=body.add_special_tokens is not False)
    prompts = [truncated(prompt, body.truncate_prompt_tokens, context.engine.info.max_model_len) for prompt in prompts]
    requests = [
        GenerationRequest(
            f"{request_id}-{index}",
            prompt.token_ids,
            params,
            body.priority,
            body.cache_salt,
            grammar_field,
            pictures=prompt.pictures,
            media=prompt.media,
        )
        for index, prompt in enumerate(prompts)
    ]
    return PreparedCompletion(model, prompts, requests)


@asynccontextmanager
async def open_completion(context: ServerContext, body: CompletionBody) -> AsyncIterator[Reply]:
    """Submit the prompts of `body`; leaving the block aborts what is unfinished."""
    request_id, engine = f"cmpl-{uuid4().hex}", context.engine
    made = await prepare_completion(context, body, request_id)
    envelope = {"id": request_id, "created": int(time.time()), "model": made.model}
    usage = Usage(made.prompts)
    shape = StreamShape(body, CompletionShape(engine.tokenizer, body, made.prompts), usage, envelope)
    async with Generation(engine, made.requests, score_only=body.score_only) as generation:
        yield Reply(request_id, shown_choices(generation, body, usage, reports=body.logprobs is not None), shape, context.workers)


def _params(body: CompletionBody) -> SamplingParams:
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequestError("max_tokens is 0; it must be at least 1, or 0 together with echo", "max_tokens")
    echoed = body.logprobs if body.echo else None
    wanted = [count for count in (body.prompt_logprobs, echoed) if count is not None]
    max_tokens = 1 if body.score_only else body.max_tokens
    return sampling_params(body, max_tokens=max_tokens, logprobs=body.logprobs, prompt_logprobs=max(wanted, default=None))


async def _completions(request: web.Request) -> web.StreamResponse:
    body = await read_body(request, CompletionBody)
    async with open_completion(request.app[CONTEXT], body) as reply:
        return await respond(request, reply, stream=body.stream)


ROUTES = [web.post("/v1/completions", _completions)]
