"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.errors import ApiError

__all__ = ["ROUTES", "check_model"]


def check_model(context: ServerContext, name: str | None) -> str:
    """Return the name of the served model; `ApiError` 404 where `name` is another one. No name means the served model."""
    served = context.engine.info.name
    if name not in (None, served):
        raise ApiError(404, f"the model {name!r} is not served here; this server has {served!r}", param="model", code="model_not_found")
    return served


async def _models(request: web.Request) -> web.Response:
    card = _card(request.app[CONTEXT])
    return web.Response(body=orjson.dumps({"object": "list", "data": [card]}), content_type="application/json")


async def _model(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    check_model(context, request.match_info["id"])
    return web.Response(body=orjson.dumps(_card(context)), content_type="application/json")


def _card(context: ServerContext) -> dict[str, Any]:
    info = context.engine.info
    return {"id": info.name, "object": "model", "created": int(info.created), "owned_by": "octavo", "max_model_len": info.max_model_len}


ROUTES = [web.get("/v1/models", _models), web.get("/v1/models/{id:.+}", _model)]
