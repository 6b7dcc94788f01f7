"""What every request passes, outermost first: its id, the access log, errors to JSON, whose page it is, the API key, whether it is
served now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from octavo.log import REQUEST_ID
from octavo.server.edge.access_log import log_access
from octavo.server.edge.clients import CLIENT, admitted
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError, anthropic_error, error_response, to_api_error
from octavo.server.edge.origins import add_cors_headers, check_host, check_post, preflight_headers
from octavo.server.edge.request_ids import request_id_of

if TYPE_CHECKING:
    from octavo.config import ServerConfig

__all__ = ["add_headers", "middlewares"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_SOCKETS = frozenset({"/v1/stream", "/v1/responses"})  # GET opens a WebSocket
# By the beginning of a path: the error documents of APIs whose clients read another form than OpenAI's.
_ERROR_BODIES: dict[str, Callable[[ApiError], dict[str, Any]]] = {
    "/v1/messages": anthropic_error,
    "/api/": lambda error: {"error": error.message},
}
_OPEN = frozenset({"/health", "/ping"})
_PAGES = frozenset({"/", "/dashboard", "/docs"})  # opened by a browser, which asks its user for the key


@web.middleware
async def _name(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, which its answer carries (`add_headers`)."""
    REQUEST_ID.set(request_id_of(request))
    return await handler(request)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        told = to_api_error(error)
        if request.path not in _OPEN:
            request.app[CONTEXT].count(told)
        other = next((body for prefix, body in _ERROR_BODIES.items() if request.path.startswith(prefix)), None)
        return error_response(told, None if other is None else orjson.dumps(other(told)))


@web.middleware
async def _pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    config = request.app[CONTEXT].config
    check_host(request, config)
    headers = preflight_headers(request, config)
    if headers is not None:
        return web.Response(status=204, headers=headers)
    if request.method == "POST":
        check_post(request, config)
    return await handler(request)


@web.middleware
async def _api_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    clients = request.app[CONTEXT].clients
    if clients and request.path not in _OPEN:
        client = clients.of(request.headers)
        if client is None:
            raise _no_key(request)
        CLIENT.set(client)
    return await handler(request)


def _no_key(request: web.Request) -> ApiError:
    challenge = 'Basic realm="Octavo: any name, the API key as password"' if request.path in _PAGES else "Bearer"
    message = "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'"
    return ApiError(401, message, kind="authentication_error", code="invalid_api_key", headers={"WWW-Authenticate": challenge})


@web.middleware
async def _admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse new work while the server drains, and requests beyond what their client may have; sockets count each of their messages."""
    works = request.method == "POST" and not request.path.endswith("/cancel")
    if request.app[CONTEXT].draining and (works or request.path in _SOCKETS):
        headers = {"Retry-After": "5", "Connection": "close"}
        raise ApiError(503, "the server is shutting down", kind="service_unavailable_error", code="shutting_down", headers=headers)
    if not works:
        return await handler(request)
    with admitted():
        return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer has, streams and errors too: see `web.Application.on_response_prepare`."""
    add_cors_headers(request, request.app[CONTEXT].config, response.headers)
    response.headers["X-Request-Id"] = REQUEST_ID.get()
    client = CLIENT.get()
    if client is not None:
        response.headers.update(client.headers())


def middlewares(config: ServerConfig) -> tuple[Any, ...]:
    """Return the middlewares of an application, outermost first."""
    return (_name, *([log_access] if config.access_log else []), _errors, _pages, _api_key, _admit)
