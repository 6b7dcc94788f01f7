"""What every request passes, outermost first: errors to JSON, the API key, the drain."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from aiohttp import web

from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError, error_response, to_api_error

__all__ = ["MIDDLEWARES"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_GENERATION = frozenset({"/v1/completions", "/v1/chat/completions", "/v1/stream"})


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        return error_response(to_api_error(error))


@web.middleware
async def _api_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    key = request.app[CONTEXT].config.api_key
    guarded = request.path.startswith("/v1/") or request.path in ("/tokenize", "/detokenize")
    if key is not None and guarded:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(sent.encode(errors="surrogateescape"), key.encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            message = "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'"
            raise ApiError(401, message, kind="authentication_error", code="invalid_api_key", headers=headers)
    return await handler(request)


@web.middleware
async def _drain(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path in _GENERATION and request.app[CONTEXT].draining:
        headers = {"Retry-After": "5", "Connection": "close"}
        raise ApiError(503, "the server is shutting down", kind="service_unavailable_error", code="shutting_down", headers=headers)
    return await handler(request)


MIDDLEWARES = (_errors, _api_key, _drain)
