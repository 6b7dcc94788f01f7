"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.errors import ApiError

__all__ = ["ROUTES", "check_model"]


def check_model(context: ServerContext, name: str | None) -> str:
    """Return the name that the answer shows; `ApiError` 404 where `name` is no name of the served model. No name means its first."""
    names = (context.engine.info.name, *context.engine.info.aliases)
    if name is None:
        return names[0]
    if name not in names:
        shown = ", ".join(map(repr, names))
        raise ApiError(404, f"the model {name[:200]!r} is not served here; this server has {shown}", param="model", code="model_not_found")
    return name


async def _models(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    info = context.engine.info
    cards = [_card(context, name) for name in (info.name, *info.aliases)]
    return web.Response(body=orjson.dumps({"object": "list", "data": cards}), content_type="application/json")


async def _model(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    name = check_model(context, request.match_info["id"])
    return web.Response(body=orjson.dumps(_card(context, name)), content_type="application/json")


def _card(context: ServerContext, name: str) -> dict[str, Any]:
    info = context.engine.info
    created = int(info.created)
    permission = {
        "id": f"modelperm-{name}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "octavo",
        "root": info.name,
        "parent": None,
        "max_model_len": info.max_model_len,
        "input_modalities": ["text"] if context.engine.images is None else ["text", "image"],
        "permission": [permission],
    }


ROUTES = [web.get("/v1/models", _models), web.get("/v1/models/{id:.+}", _model)]
