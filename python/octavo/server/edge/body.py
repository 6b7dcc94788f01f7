"""Reading a request body: size, JSON, then the pydantic model of the endpoint. Each failure names what is wrong and where."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from aiohttp import web
from pydantic import ValidationError

from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError

if TYPE_CHECKING:
    from octavo.server.openai.protocol import RequestBody

__all__ = ["parse_body", "parse_json", "read_body"]

BodyT = TypeVar("BodyT", bound="RequestBody")
_MAX_PROBLEMS = 3


async def read_body(request: web.Request, model: type[BodyT]) -> BodyT:
    """Read and validate the body of `request`.

    Raises:
        ApiError: 413 (before reading, where the client states the length), or 400.
    """
    limit = request.app[CONTEXT].config.max_body_bytes
    if (request.content_length or 0) > limit:
        message = f"the request body has {request.content_length} bytes; the server takes at most {limit} (--max-body-bytes)"
        raise ApiError(413, message, code="body_too_large")
    return parse_body(parse_json(await request.read()), model)


def parse_json(raw: bytes | str) -> dict[str, Any]:
    """Return the JSON object in `raw`; `ApiError` 400 for anything else."""
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the request body is not {_what_it_is_not(raw)}: {error}", code="invalid_json") from None
    if not isinstance(data, dict):
        raise ApiError(400, "the request body must be a JSON object", code="invalid_json")
    return data


def parse_body(data: dict[str, Any], model: type[BodyT]) -> BodyT:
    """Validate `data`; `ApiError` 400 names the first fields at fault."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        message = "; ".join(_describe(problem, model) for problem in problems[:_MAX_PROBLEMS])
        raise ApiError(400, message, param=_path(problems[0]["loc"]) or None, code="invalid_value") from None


def _what_it_is_not(raw: bytes | str) -> str:
    try:
        raw.decode() if isinstance(raw, bytes) else raw.encode()
    except UnicodeError:
        return "valid UTF-8"
    return "valid JSON"


def _describe(problem: Any, model: type[RequestBody]) -> str:
    path = _path(problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(path, model.model_fields, n=1) if len(problem["loc"]) == 1 else []
        return f"unknown field {path!r}; " + (f"did you mean {near[0]!r}?" if near else "leave it out: this server would not act on it")
    if problem["type"] == "missing":
        return f"{path} is required"
    got = problem["input"]
    shown = f", not {got!r}" if isinstance(got, (bool, int, float)) or (isinstance(got, str) and len(got) <= 40) else ""
    text = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {text[:1].lower()}{text[1:]}{shown}" if path else text


def _path(location: tuple[int | str, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")
