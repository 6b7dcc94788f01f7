"""Routes whose modules are imported when a client first asks for one: a server is up sooner, and holds only the APIs that it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module

from aiohttp import web

__all__ = ["late_routes"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def late_routes(module: str, *routes: str) -> list[web.RouteDef]:
    """Return routes of `module`, which are not imported yet.

    Args:
        module: its `ROUTES` hold the handlers.
        routes: "METHOD /path", spelled as there.
    """
    places = ((route, *route.split(" ", 1)) for route in routes)
    return [web.route(method, path, _late_handler(module, route)) for route, method, path in places]


def _late_handler(module: str, route: str) -> Handler:
    found: Handler | None = None

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal found
        if found is None:
            found = await asyncio.to_thread(_find, module, route)  # the event loop goes on meanwhile
        return await found(request)

    return handle


def _find(module: str, route: str) -> Handler:
    return next(each.handler for each in import_module(module).ROUTES if f"{each.method} {each.path}" == route)
