"""Fields of OpenAI's API that this server cannot act on: each is refused with the reason, because ignoring it would change the answer."""

from __future__ import annotations

from typing import Any

from octavo.errors import InvalidRequestError

__all__ = ["reject_unsupported"]


def reject_unsupported(body: dict[str, Any]) -> None:
    """Raise `InvalidRequestError` for the first field that asks for something absent."""
    for name in ("tools", "functions"):
        if body.get(name):
            raise InvalidRequestError("tools are not supported by this server; leave the field out", name)
    for name in ("tool_choice", "function_call"):
        if body.get(name) not in (None, "none", "auto"):
            raise InvalidRequestError(f"{name}: tools are not supported by this server; leave the field out", name)
    _reject_formats(body)
    if body.get("suffix"):
        raise InvalidRequestError("suffix is not supported by this server; leave it out", "suffix")
    best_of = body.get("best_of")
    if best_of is not None and best_of != (body.get("n") or 1):
        raise InvalidRequestError("best_of other than n is not supported by this server; ask for n choices instead", "best_of")


def _reject_formats(body: dict[str, Any]) -> None:
    response_format = body.get("response_format")
    kind = response_format.get("type") if isinstance(response_format, dict) else response_format
    if response_format is not None and kind != "text":
        raise InvalidRequestError(f"response_format {kind!r} is not supported by this server; only 'text' is", "response_format")
    if body.get("modalities") not in (None, ["text"]):
        raise InvalidRequestError("modalities other than ['text'] are not supported by this server", "modalities")
