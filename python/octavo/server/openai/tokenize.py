"""POST /tokenize and /detokenize."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from octavo.errors import InvalidRequestError
from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.generation import Prompt
from octavo.server.openai.models import check_model
from octavo.server.openai.prompts import chat_prompt, completion_prompts
from octavo.server.openai.protocol import DetokenizeBody, TokenizeBody

__all__ = ["ROUTES"]


async def _tokenize(request: web.Request) -> web.Response:
    body = await read_body(request, TokenizeBody)
    context = request.app[CONTEXT]
    check_model(context, body.model)
    token_ids = (await _prompt(context, body)).token_ids
    document: dict[str, Any] = {"count": len(token_ids), "max_model_len": context.engine.info.max_model_len, "tokens": token_ids}
    document["token_strs"] = None
    token_bytes = context.engine.tokenizer.token_bytes

    def describe() -> bytes:
        if body.return_token_strs == "vocabulary":
            document["token_strs"] = [context.engine.tokenizer.token_text(token_id) for token_id in token_ids]
        elif body.return_token_strs:
            document["token_strs"] = [token_bytes(token_id).decode(errors="replace") for token_id in token_ids]
        return orjson.dumps(document)

    return web.Response(body=await context.workers.run(len(token_ids), describe), content_type="application/json")


async def _prompt(context: ServerContext, body: TokenizeBody) -> Prompt:
    if body.messages is None:
        [prompt] = await completion_prompts(context, [body.prompt or ""], add_special_tokens=body.add_special_tokens is not False)
        return prompt
    return await chat_prompt(
        context,
        body.messages,
        body,
        add_special_tokens=body.add_special_tokens is True,
    )


async def _detokenize(request: web.Request) -> web.Response:
    body = await read_body(request, DetokenizeBody)
    context = request.app[CONTEXT]
    check_model(context, body.model)
    vocab_size = context.engine.info.vocab_size
    if body.tokens and not (min(body.tokens) >= 0 and max(body.tokens) < vocab_size):
        index, token_id = next((index, token_id) for index, token_id in enumerate(body.tokens) if not 0 <= token_id < vocab_size)
        raise InvalidRequestError(f"tokens[{index}] is {token_id}; the vocabulary has ids 0 to {vocab_size - 1}", "tokens")
    tokenizer = context.engine.tokenizer

    def decode() -> bytes:
        return orjson.dumps({"prompt": tokenizer.decode(body.tokens, skip_special_tokens=body.skip_special_tokens)})

    return web.Response(body=await context.workers.run(len(body.tokens), decode), content_type="application/json")


async def _tokenizer_info(request: web.Request) -> web.Response:
    """What the tokenizer is, under the names of a Hugging Face tokenizer_config.json."""
    context = request.app[CONTEXT]
    tokenizer = context.engine.tokenizer
    template = tokenizer.chat_template

    def text(token_id: int | None) -> str | None:
        return None if token_id is None else tokenizer.token_bytes(token_id).decode(errors="replace")

    document = {
        "tokenizer_class": type(tokenizer).__name__,
        "vocab_size": tokenizer.vocab_size,
        "model_max_length": context.engine.info.max_model_len,
        "bos_token": text(tokenizer.bos_token_id),
        "eos_token": text(next(iter(tokenizer.eos_token_ids), None)),
        "eos_token_ids": list(tokenizer.eos_token_ids),
        "additional_special_tokens": [text(token_id) for token_id in sorted(tokenizer.special_token_ids)],
        "chat_template": None if template is None else template.source,
    }
    return web.Response(body=orjson.dumps(document), content_type="application/json")


ROUTES = [
    web.post("/tokenize", _tokenize),
    web.post("/detokenize", _detokenize),
    web.get("/tokenizer_info", _tokenizer_info),
]
