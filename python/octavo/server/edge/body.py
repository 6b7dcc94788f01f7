"""Reading a request body: bytes, JSON, then the pydantic model of the endpoint. Each failure names what is wrong and where."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError
from octavo.server.edge.json_limits import check_num_values
from octavo.server.edge.raw_body import read_raw_body

__all__ = ["RequestBody", "parse_body", "parse_json", "read_body"]

BodyT = TypeVar("BodyT", bound="RequestBody")
_MAX_PROBLEMS = 3
_LIKENESS = 0.85  # of difflib, whose own default finds likenesses that nobody else sees
_SHOWN = 40  # characters of a client's value or name that a message repeats


class RequestBody(BaseModel):
    """Root of the bodies: strict types, null counts as absent, and the first unknown field is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, data: Any) -> Any:
        """Refuse an unknown field here, because pydantic would make one error of each."""
        if not isinstance(data, dict):
            return data
        known = _known_names(cls)
        for name in () if cls.model_config.get("extra") == "allow" else data:
            if name not in known:
                raise PydanticCustomError("unknown_field", "{advice}", {"name": name, "advice": _advice(name, cls)})
        return {name: value for name, value in data.items() if value is not None}


@cache
def _known_names(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


async def read_body(request: web.Request, model: type[BodyT]) -> BodyT:
    """Read and validate the body of `request`.

    Raises:
        ApiError: what `read_raw_body` raises, and 400.
    """
    workers = request.app[CONTEXT].workers
    raw = await read_raw_body(request)
    return await workers.run(len(raw), lambda: parse_body(parse_json(raw), model))


def parse_json(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`; `ApiError` 400 for anything else, and for more than `MAX_VALUES` values."""
    check_num_values(raw)
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
        problems = error.errors(include_url=False, include_context=True)[:_MAX_PROBLEMS]
        message = "; ".join(map(_describe, problems))
        raise ApiError(400, message, param=_path(problems[0]) or None, code="invalid_value") from None


def _what_it_is_not(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeError:
        return "valid UTF-8"
    return "valid JSON"


def _advice(name: str, model: type[RequestBody]) -> str:
    near = get_close_matches(name, model.model_fields, n=1, cutoff=_LIKENESS) if len(name) <= _SHOWN else []
    return f"did you mean {near[0]!r}?" if near else "leave it out: this server would not act on it"


def _describe(problem: Any) -> str:
    path = _path(problem)
    if problem["type"] == "unknown_field":
        return f"unknown field {path!r}; {problem['msg']}"
    if problem["type"] == "missing":
        return f"{path} is required"
    got = problem["input"]
    shown = f", not {got!r}" if isinstance(got, (bool, int, float)) or (isinstance(got, str) and len(got) <= _SHOWN) else ""
    text = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {text[:1].lower()}{text[1:]}{shown}" if path else text


def _path(problem: Any) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN]}" for part in problem["loc"]]
    if problem["type"] == "unknown_field":
        parts.append(f".{problem['ctx']['name'][:_SHOWN]}")
    return "".join(parts).removeprefix(".")
