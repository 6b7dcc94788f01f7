"""What `response.steer` may say, and what a response that calls tools waits for."""

from __future__ import annotations

from typing import Any

from octavo.errors import InvalidRequestError
from octavo.server.edge.errors import ApiError
from octavo.server.responses.conversion import check_item
from octavo.server.responses.protocol import Item

__all__ = ["required_input", "steering_items"]

_MAX_ITEMS = 64


def steering_items(message: dict[str, Any]) -> list[Item]:
    """Return the user's messages in a `response.steer`; `ApiError` with the code `invalid_input` for anything else."""
    unknown = set(message) - {"previous_response_id", "input"}
    if unknown:
        raise ApiError(400, f"response.steer has no field {min(unknown)[:40]!r}", code="invalid_input")
    given = message.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not 0 < len(items) <= _MAX_ITEMS:
        raise ApiError(400, f"input must be a text or a list of 1 to {_MAX_ITEMS} messages", param="input", code="invalid_input")
    for index, item in enumerate(items):
        if not isinstance(item, dict) or item.get("role") != "user" or item.get("type", "message") != "message":
            raise ApiError(400, f"input[{index}] must be a message of the user", param=f"input[{index}]", code="invalid_input")
        try:
            check_item({"type": "message", "id": "msg"} | item, f"input[{index}]")
        except InvalidRequestError as error:
            raise ApiError(400, str(error), param=error.param, code="invalid_input") from None
    return items


def required_input(document: dict[str, Any]) -> list[Item]:
    """Return stubs of the outputs that a response's calls wait for."""
    stubs = []
    for item in document["output"]:
        if item["type"] == "function_call":
            stubs.append({"type": "function_call_output", "call_id": item["call_id"], "name": item["name"]})
        elif item["type"] == "custom_tool_call":
            stubs.append({"type": "custom_tool_call_output", "call_id": item["call_id"]})
    return stubs
