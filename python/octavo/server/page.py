"""GET /: a chat page in one file, so that a person who opens the server in a browser can talk to the model at once."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

__all__ = ["ROUTES"]

_PAGE = Path(__file__).parent / "static" / "index.html"
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


async def _page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(_PAGE, headers=_HEADERS)


ROUTES = [web.get("/", _page)]
