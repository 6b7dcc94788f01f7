"""GET /health, /ping and /version: answered while the engine is saturated, and without a key."""

from __future__ import annotations

import orjson
from aiohttp import web

import octavo
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError

__all__ = ["ROUTES"]


async def _health(request: web.Request) -> web.Response:
    """200 while new requests are taken; 503 with the reason otherwise."""
    reason = request.app[CONTEXT].unavailable()
    if reason is not None:
        raise ApiError(503, reason, kind="service_unavailable_error", code="unavailable")
    return web.Response(body=b'{"status":"ok"}', content_type="application/json")


async def _version(request: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps({"version": octavo.__version__}), content_type="application/json")


ROUTES = [web.get("/health", _health), web.get("/ping", _health), web.get("/version", _version)]
