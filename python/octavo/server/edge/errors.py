"""From an exception to OpenAI's error body: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from octavo.errors import EngineDeadError, InvalidRequestError, OctavoError, QueueFullError
from octavo.log import get_logger

__all__ = ["ApiError", "anthropic_error", "error_response", "to_api_error"]

_log = get_logger(__name__)
_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_MAX_MESSAGE = 2000  # characters: no message repeats a whole request, or a vocabulary


class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        status: HTTP status.
        kind: OpenAI's class of the error.
        param: the request field at fault, such as `messages[0].role`.
        code: a word for programs, such as `model_not_found`.
        headers: HTTP headers that belong to the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = headers or {}

    @property
    def message(self) -> str:
        """The text, not too long and without lone surrogates, since it may repeat what a client sent."""
        return str(self)[:_MAX_MESSAGE].encode(errors="replace").decode()

    def body(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def json(self) -> bytes:
        """Return the JSON document as bytes."""
        return orjson.dumps(self.body())


def to_api_error(error: Exception) -> ApiError:
    """Translate any exception. What is nobody's request's fault is logged with its traceback and tells the client nothing of the inside."""
    match error:
        case ApiError():
            return error
        case InvalidRequestError():
            return ApiError(400, str(error), param=error.param, code=error.code)
        case QueueFullError():
            return ApiError(503, str(error), kind="service_unavailable_error", code="queue_full", headers={"Retry-After": "1"})
        case EngineDeadError():
            return ApiError(503, str(error), kind="service_unavailable_error", code="engine_dead")
        case OctavoError():
            return ApiError(500, str(error), kind="server_error")
        case web.HTTPException():
            return _from_http(error)
    _log.error("a request failed inside the server", exc_info=error)
    return ApiError(500, "the server failed on this request; its log has the details", kind="server_error", code="internal_error")


def error_response(error: ApiError, body: bytes | None = None) -> web.Response:
    """Return the HTTP answer of `error`; `body`: its document where that is not OpenAI's."""
    body = error.json() if body is None else body
    response = web.Response(status=error.status, body=body, content_type="application/json", headers=error.headers)
    if error.status == 413:
        response.force_close()  # the rest of the body is still on its way
    return response


def anthropic_error(error: ApiError) -> dict[str, Any]:
    """Return `error` as Anthropic's clients read it."""
    return {"type": "error", "error": {"type": _ANTHROPIC_KINDS.get(error.status, "api_error"), "message": error.message}}


def _from_http(error: web.HTTPException) -> ApiError:
    match error:
        case web.HTTPNotFound():
            return ApiError(404, "there is no such endpoint; GET /v1/models shows that the server is up", code="not_found")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            message = f"{error.method} is not allowed here; use {allowed}"
            return ApiError(405, message, code="method_not_allowed", headers={"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return ApiError(413, "the request body is larger than the server takes (--max-body-bytes)", code="body_too_large")
    return ApiError(error.status, error.text or error.reason)
