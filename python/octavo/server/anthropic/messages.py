"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from aiohttp import web

from octavo.server.anthropic.conversion import chat_body
from octavo.server.anthropic.message_shape import MessageShape
from octavo.server.anthropic.protocol import CountTokensBody, MessagesBody
from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.generation import Generation
from octavo.server.edge.reply import Reply, respond
from octavo.server.openai.chat import prepare_chat

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext

__all__ = ["ROUTES"]


async def _messages(request: web.Request) -> web.StreamResponse:
    body = await read_body(request, MessagesBody)
    context: ServerContext = request.app[CONTEXT]
    chat = await prepare_chat(context, chat_body(body), f"msg_{uuid4().hex}")
    message_id = chat.request.request_id
    shape = MessageShape(message_id, chat.model, len(chat.prompt.token_ids), chat.open_parser())
    async with Generation(context.engine, [chat.request]) as generation:
        return await respond(request, Reply(message_id, generation, shape, context.workers), stream=body.stream)


async def _count_tokens(request: web.Request) -> web.Response:
    body = await read_body(request, CountTokensBody)
    chat = await prepare_chat(request.app[CONTEXT], chat_body(body), f"count_{uuid4().hex}")
    return web.json_response({"input_tokens": len(chat.prompt.token_ids)})


ROUTES = [web.post("/v1/messages", _messages), web.post("/v1/messages/count_tokens", _count_tokens)]
