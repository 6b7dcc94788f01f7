"""Ids of requests: the client's own (X-Request-Id), else that of the document that it is answered, else one made here."""

from __future__ import annotations

from uuid import uuid4

from aiohttp import web

from octavo.log import REQUEST_ID

__all__ = ["name_request", "request_id_of"]

_MAX_ID = 200  # characters of an id that comes back


def request_id_of(request: web.Request) -> str:
    """The client's name of its request, where it may be repeated, else a new one."""
    return _sent_id(request) or f"req-{uuid4().hex}"


def name_request(request: web.Request, request_id: str) -> None:
    """Call the request that this task serves by the id of its document, in the log and in its answer, unless its client named it."""
    if _sent_id(request) is None:
        REQUEST_ID.set(request_id)


def _sent_id(request: web.Request) -> str | None:
    sent = request.headers.get("X-Request-Id")
    return sent if sent and len(sent) <= _MAX_ID and sent.isprintable() and sent.isascii() else None
