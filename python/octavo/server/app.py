"""The application: every endpoint family, behind the middlewares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from octavo.server import health, page, websocket
from octavo.server.anthropic import messages
from octavo.server.dashboard import dashboard_routes
from octavo.server.edge.clients import Clients
from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.middleware import add_headers, middlewares
from octavo.server.metrics import metrics_routes
from octavo.server.ollama import generation as ollama_generation
from octavo.server.ollama import models as ollama_models
from octavo.server.openai import chat, completions, decisions, models, tokenize
from octavo.server.responses import routes as responses
from octavo.server.responses import socket as responses_socket

if TYPE_CHECKING:
    from octavo.config import ServerConfig
    from octavo.engine.port import Engine

__all__ = ["build_app"]


_FAMILIES = (
    page,
    health,
    models,
    completions,
    chat,
    decisions,
    tokenize,
    websocket,
    responses,
    responses_socket,
    messages,
    ollama_generation,
    ollama_models,
)


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
    app.add_routes(metrics_routes(engine, app[CONTEXT].clients))
    app.add_routes(dashboard_routes(engine))
    websocket.close_sockets_with(app)
    responses.keep_responses_in(app)
    app.on_response_prepare.append(add_headers)
    app.on_cleanup.append(_close_workers)
    return app


async def _close_workers(app: web.Application) -> None:
    app[CONTEXT].workers.close()
