"""A line in the log for each request that has ended (`--access-log`), streams included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from octavo.log import get_logger

__all__ = ["log_access"]

_log = get_logger(__name__)
_CLIENT_GONE = 499  # nginx's status for it: there is no answer that could have one


@web.middleware
async def log_access(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Log what `request` was answered, or that its client went away."""
    began = time.monotonic()
    try:
        response = await handler(request)
    except (asyncio.CancelledError, ConnectionError):
        _write(request, _CLIENT_GONE, 0, began)
        raise
    _write(request, response.status, response.body_length if response.prepared else _size(response), began)
    return response


def _write(request: web.Request, status: int, size: int, began: float) -> None:
    """Log one line. The path is as it came, percent-encoded, without its query: no byte of it can begin another line."""
    path = request.raw_path.partition("?")[0].encode("ascii", "backslashreplace").decode()
    fields = {
        "client": request.remote or "unix",
        "method": request.method,
        "path": path,
        "status": status,
        "bytes": size,
        "duration_s": round(time.monotonic() - began, 6),
    }
    text = "%(client)s %(method)s %(path)s %(status)d, %(bytes)d bytes in %(duration_s).3f s"
    _log.info(text, fields, extra={"fields": fields})


def _size(response: web.StreamResponse) -> int:
    return len(response.body or b"") if isinstance(response, web.Response) and isinstance(response.body, (bytes, bytearray)) else 0
