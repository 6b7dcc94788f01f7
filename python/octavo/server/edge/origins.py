"""Which web pages may use the server: a browser sends requests for any page that its user opens.

Three rules keep other people's pages away from a server on the user's own machine. On loopback the Host names this machine, so a
page whose name was rebound to 127.0.0.1 is refused. A POST says that it is JSON, which a page may not do elsewhere without asking first
(preflight, https://fetch.spec.whatwg.org/#http-cors-protocol), or comes from a page of this server. The answer to a preflight, and the
leave to read an answer, go to the origins of `--cors-origins` alone.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from octavo.server.edge.errors import ApiError

if TYPE_CHECKING:
    from aiohttp import web
    from multidict import CIMultiDict

    from octavo.config import ServerConfig

__all__ = ["add_cors_headers", "allows_origin", "check_host", "check_post", "preflight_headers"]

_METHODS = "GET, POST, OPTIONS"
_HEADERS = "Authorization, Content-Type"
_MAX_AGE_S = "600"
_FORMS = "/v1/audio/"  # where a body may be a form
_OF_BROWSERS = frozenset(("Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode"))


def check_host(request: web.Request, config: ServerConfig) -> None:
    """Raise `ApiError` 403 where the server listens on loopback and the Host is not this machine, nor one of `--allowed-hosts`."""
    host = request.headers.get("Host")
    if host is None or not (_is_local(config.host) or config.allowed_hosts):
        return
    name = _host_name(host)
    if not _is_local(name) and name not in config.allowed_hosts:
        message = f"the server does not answer to the name {name[:80]!r}; name it with --allowed-hosts"
        raise ApiError(403, message, kind="permission_error", code="foreign_host")


def check_post(request: web.Request, config: ServerConfig) -> None:
    """Raise `ApiError` 415 for a POST that is not said to be JSON and does not come from a page of this server.

    The routes of sound take a form with a file in it, which any page may send, from pages of `--cors-origins` and from whoever is no page.
    Some clients of Ollama's name no type. A browser names the origin of every POST, so one without either comes from no page.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json") or _is_same_origin(request):
        return
    of_a_page = bool(request.headers.keys() & _OF_BROWSERS)
    if not kind and not of_a_page:
        return
    if kind == "multipart/form-data" and request.path.startswith(_FORMS):
        origin = request.headers.get("Origin")
        if not of_a_page or (origin is not None and _is_listed(origin, config)):
            return
    shown = repr(kind[:80]) if kind else "nothing"
    message = f"Content-Type says {shown}; send application/json (curl: -H 'Content-Type: application/json')"
    raise ApiError(415, message, code="unsupported_media_type")


def allows_origin(request: web.Request, config: ServerConfig) -> bool:
    """Whether the page that sent `request`, if one did, is of this server or of `--cors-origins`."""
    origin = request.headers.get("Origin")
    return origin is None or _is_same_origin(request) or _is_listed(origin, config)


def preflight_headers(request: web.Request, config: ServerConfig) -> dict[str, str] | None:
    """Return the headers of the answer to a preflight; None where `request` is none. Raises `ApiError` 403 for a foreign page."""
    origin = request.headers.get("Origin")
    if request.method != "OPTIONS" or origin is None or "Access-Control-Request-Method" not in request.headers:
        return None
    if not allows_origin(request, config):
        message = f"a page of {origin[:80]} may not use this server; allow it with --cors-origins"
        raise ApiError(403, message, kind="permission_error", code="foreign_origin")
    wanted = request.headers.get("Access-Control-Request-Headers", _HEADERS)
    headers = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Allow-Headers": wanted, "Access-Control-Max-Age": _MAX_AGE_S}
    if "Access-Control-Request-Private-Network" in request.headers:
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers


def add_cors_headers(request: web.Request, config: ServerConfig, headers: CIMultiDict[str]) -> None:
    """Let a page of `--cors-origins` read the answer with these headers."""
    origin = request.headers.get("Origin")
    if origin is not None and _is_listed(origin, config):
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = "X-Request-Id, Retry-After"
    if config.cors_origins:
        headers.add("Vary", "Origin")


def _is_listed(origin: str, config: ServerConfig) -> bool:
    return "*" in config.cors_origins or origin.lower() in config.cors_origins


def _is_same_origin(request: web.Request) -> bool:
    try:
        return urlsplit(request.headers.get("Origin", "")).netloc.lower() == request.headers["Host"].lower()
    except (KeyError, ValueError):
        return False


def _host_name(host: str) -> str:
    """Return the name of a Host header: without the port, without the brackets of IPv6, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


@lru_cache(256)  # names are short: a head has a limit, and this is asked for every request
def _is_local(name: str) -> bool:
    """Whether `name` can only be this machine: `localhost`, names below it (RFC 6761), loopback addresses."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
