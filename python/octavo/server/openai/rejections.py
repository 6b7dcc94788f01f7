"""Fields of other servers' APIs that this server cannot act on: refused with the reason, because ignoring them would change the answer.

Clients write defaults out; a value that asks for nothing is taken.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from octavo.errors import InvalidRequestError

__all__ = ["reject_unsupported", "without_neutral"]

# what asks for nothing, of fields that some server has and this one has not
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "continue_final_message": (False,),
    "echo": (False,),
    "guided_decoding_backend": ("", "auto"),
    "include_reasoning": (True,),
    "logprobs": (False,),
    "spaces_between_special_tokens": (True,),
    "suffix": ("",),
    "documents": ([],),
    "tools": ([],),
}


def without_neutral(body: dict[str, Any], fields: Container[str]) -> dict[str, Any]:
    """Return `body` without the fields that are not among `fields` and whose values ask for nothing."""
    return {name: value for name, value in body.items() if name in fields or not _is_neutral(name, value)}


def _is_neutral(name: str, value: Any) -> bool:
    return any(type(value) is type(neutral) and value == neutral for neutral in _NEUTRAL.get(name, ()))


def reject_unsupported(body: dict[str, Any]) -> None:
    """Raise `InvalidRequestError` for the first field that asks for something absent."""
    if body.get("functions") or body.get("function_call") not in (None, "none", "auto"):
        raise InvalidRequestError("functions and function_call gave way to tools and tool_choice; use these", "functions")
    _reject_formats(body)


def _reject_formats(body: dict[str, Any]) -> None:
    if body.get("modalities") not in (None, ["text"]):
        raise InvalidRequestError("modalities other than ['text'] are not supported by this server", "modalities")
