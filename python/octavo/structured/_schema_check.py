"""What a JSON schema asks for and llguidance does not hold, found before anything is compiled, with the path of the keyword."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from octavo.errors import InvalidRequestError

__all__ = ["check_schema", "closed"]

_MAX_DEPTH = 64
# Keywords that would be passed over in silence, or that the library refuses without saying where they stand.
_UNSUPPORTED = (
    "$dynamicRef",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "patternProperties",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "x-guidance",
)
_ASKS_FOR_NOTHING: tuple[tuple[str, Any], ...] = (
    ("minContains", 0),
    ("patternProperties", {}),
    ("unevaluatedProperties", True),
    ("uniqueItems", False),
)
_OF_SCHEMAS = ("properties", "$defs", "definitions")  # name -> schema
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_ALTERNATIVES = frozenset(("anyOf", "oneOf", "$ref"))
_SINGLE = ("items", "additionalProperties", "additionalItems")


def check_schema(schema: Any, field: str) -> None:
    """Raise `InvalidRequestError` naming the path of the first keyword that cannot be honoured."""
    pending = [("", schema)]
    while pending:
        path, current = pending.pop()
        if path.count("/") > 2 * _MAX_DEPTH:
            raise InvalidRequestError(f"{field}: the schema is nested more than {_MAX_DEPTH} deep", field)
        if isinstance(current, bool):
            continue
        if not isinstance(current, dict):
            raise InvalidRequestError(f"{field}: {path or 'the schema'} must be an object, not {type(current).__name__}", field)
        for keyword in _UNSUPPORTED:
            if keyword in current and (keyword, current[keyword]) not in _ASKS_FOR_NOTHING:
                raise InvalidRequestError(f"{field}: {path}/{keyword} cannot be honoured; leave it out, or describe it otherwise", field)
        pending += reversed(list(_parts(path, current, field)))


def _parts(path: str, schema: dict[str, Any], field: str) -> Iterator[tuple[str, Any]]:
    for keyword in _OF_SCHEMAS:
        parts = schema.get(keyword, {})
        if not isinstance(parts, dict):
            raise InvalidRequestError(f"{field}: {path}/{keyword} must be an object of schemas", field)
        yield from ((f"{path}/{keyword}/{name}", part) for name, part in parts.items())
    for keyword in _LISTS:
        parts = schema.get(keyword, [])
        if not isinstance(parts, list):
            raise InvalidRequestError(f"{field}: {path}/{keyword} must be a list of schemas", field)
        yield from ((f"{path}/{keyword}/{index}", part) for index, part in enumerate(parts))
    yield from ((f"{path}/{keyword}", schema[keyword]) for keyword in _SINGLE if keyword in schema)


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A checked schema whose objects have the properties that it names and no others, where it does not speak of others.

    What satisfies it satisfies `schema`. A weak model goes on inventing properties as long as it may. Where parts of a schema hold together
    for one object (`allOf`, properties beside `$ref` or `anyOf`), a closed part would bar what another one names: then nothing is changed.
    """
    return schema if _has_conjunctions(schema) else _closed(schema)


def _has_conjunctions(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    together = "allOf" in schema or (("properties" in schema or "required" in schema) and not _ALTERNATIVES.isdisjoint(schema))
    return together or any(_has_conjunctions(part) for _, part in _parts("", schema, ""))


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for keyword in _OF_SCHEMAS:
        if keyword in schema:
            made[keyword] = {name: _closed(part) for name, part in schema[keyword].items()}
    for keyword in _LISTS:
        if keyword in schema:
            made[keyword] = [_closed(part) for part in schema[keyword]]
    for keyword in _SINGLE:
        if keyword in schema:
            made[keyword] = _closed(schema[keyword])
    properties = schema.get("properties")
    if properties and "additionalProperties" not in schema and properties.keys() >= set(schema.get("required") or ()):
        made["additionalProperties"] = False
    return made
