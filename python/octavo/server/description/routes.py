"""GET /openapi.json and GET /docs."""

from __future__ import annotations

import json

from aiohttp import web

from octavo.server.description.docs_page import docs_page
from octavo.server.description.document import openapi_document
from octavo.server.page import PAGE_HEADERS

__all__ = ["ROUTES"]

_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


async def _openapi(_: web.Request) -> web.Response:
    return web.Response(text=json.dumps(openapi_document()), content_type="application/json")


async def _docs(_: web.Request) -> web.Response:
    headers = PAGE_HEADERS | {"Content-Security-Policy": _POLICY}
    return web.Response(text=docs_page(openapi_document()), content_type="text/html", headers=headers)


ROUTES = [web.get("/openapi.json", _openapi), web.get("/docs", _docs)]
