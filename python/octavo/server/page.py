"""The pages for people: GET / (chat) and GET /dashboard, plain HTML, CSS and JavaScript modules from the folder static/.

Everything a page needs comes from here: no other host is asked, and the content-security policy holds it to that.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

__all__ = ["PAGE_HEADERS", "ROUTES"]

_FOLDER = Path(__file__).parent / "static"
_FILES = {path.name: path for path in sorted(_FOLDER.iterdir()) if path.suffix in (".js", ".css", ".svg")}
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


async def _chat(request: web.Request) -> web.FileResponse:
    return web.FileResponse(_FOLDER / "index.html", headers=PAGE_HEADERS)


async def _dashboard(request: web.Request) -> web.FileResponse:
    return web.FileResponse(_FOLDER / "dashboard.html", headers=PAGE_HEADERS)


async def _file(request: web.Request) -> web.FileResponse:
    path = _FILES.get(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound
    return web.FileResponse(path, headers=PAGE_HEADERS)


ROUTES = [web.get("/", _chat), web.get("/dashboard", _dashboard), web.get("/static/{name}", _file)]
