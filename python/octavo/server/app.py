"""The application: every endpoint family, behind the middlewares."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode, web

from octavo.server import health, page
from octavo.server.dashboard import dashboard_routes
from octavo.server.edge.clients import Clients
from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.late import late_routes
from octavo.server.edge.middleware import add_headers, middlewares
from octavo.server.metrics import add_metrics
from octavo.server.openai import models
from octavo.server.responses.store import keep_responses_in

if TYPE_CHECKING:
    from octavo.config import ServerConfig
    from octavo.engine.port import Engine

__all__ = ["build_app"]


_FAMILIES = (page, health, models)
# Imported when a client first asks: tests/server/test_late_routes.py holds each line to the module's ROUTES.
_LATE_FAMILIES = {
    "openai.completions": ("POST /v1/completions",),
    "openai.chat": ("POST /v1/chat/completions",),
    "openai.transcriptions": ("POST /v1/audio/transcriptions", "POST /v1/audio/translations"),
    "openai.decisions": ("POST /v1/decisions",),
    "openai.tokenize": ("POST /tokenize", "POST /detokenize", "GET /tokenizer_info"),
    "websocket": ("GET /v1/stream",),
    "responses.routes": (
        "POST /v1/responses",
        "POST /v1/responses/input_tokens",
        "GET /v1/responses/{id}",
        "DELETE /v1/responses/{id}",
        "POST /v1/responses/{id}/cancel",
        "GET /v1/responses/{id}/input_items",
    ),
    "responses.socket": ("GET /v1/responses",),
    "anthropic.messages": ("POST /v1/messages", "POST /v1/messages/count_tokens"),
    "ollama.generation": ("POST /api/chat", "POST /api/generate"),
    "description.routes": ("GET /openapi.json", "GET /docs"),
    "pooling.embeddings": ("POST /v1/embeddings", "POST /pooling"),
    "pooling.scores": ("POST /score", "POST /v1/score", "POST /rerank", "POST /v1/rerank", "POST /v2/rerank"),
    "pooling.classify": ("POST /classify", "POST /v1/classify"),
    "ollama.models": ("GET /api/tags", "GET /api/ps", "GET /api/version", "POST /api/show"),
}


def build_app(engine: Engine, config: ServerConfig, *, clients: Clients | None = None, stall_s: float = 30.0) -> web.Application:
    """Return the application that serves `engine`, which its caller starts and closes.

    Run it with handler cancellation (`octavo.server.serve.make_runner` does), so that a client's going ends its request.

    Args:
        clients: whoever has a key; None: those of `config`.
        stall_s: seconds that a client may leave its full receive buffer unread before its requests are aborted.
    """
    app = web.Application(middlewares=middlewares(config), client_max_size=0)
    app[CONTEXT] = ServerContext(engine, config, stall_s, Clients(config, {}) if clients is None else clients)
    for family in _FAMILIES:
        app.add_routes(family.ROUTES)
    for module, routes in _LATE_FAMILIES.items():
        app.add_routes(late_routes(f"octavo.server.{module}", *routes))
    add_metrics(app)
    app.add_routes(dashboard_routes(engine))
    if config.otlp_traces_endpoint is not None:
        _trace(app, config.otlp_traces_endpoint)
    app.on_shutdown.append(_close_sockets)
    keep_responses_in(app)
    app.on_response_prepare.append(add_headers)
    app.on_cleanup.append(_close_workers)
    return app


def _trace(app: web.Application, endpoint: str) -> None:
    from octavo.server.tracing import TraceObserver, otlp_processor, read_traceparent

    engine = app[CONTEXT].engine
    observer = TraceObserver(engine.info.name, otlp_processor(endpoint))
    engine.add_observer(observer)
    app.middlewares.append(read_traceparent)

    async def close(_: web.Application) -> None:
        await asyncio.to_thread(observer.close)

    app.on_cleanup.append(close)


async def _close_sockets(app: web.Application) -> None:
    for socket in set(app[CONTEXT].sockets):
        await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server is shutting down")


async def _close_workers(app: web.Application) -> None:
    app[CONTEXT].workers.close()
