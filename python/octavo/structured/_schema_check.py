"""What a JSON schema asks for and llguidance does not hold, found before anything is compiled, with the path of the keyword."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from octavo.errors import InvalidRequestError

__all__ = ["check_schema", "held"]

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


# RFC 3339: days that there are, in years from 0001 on. The library would let February have 29 days in every year.
_YEAR = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP = r"([0-9]{2}(0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26]|0[48])00)"
_DATE = rf"({_YEAR}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_PATTERNS = {"date": f"^{_DATE}$", "date-time": f"^{_DATE}T{_TIME}$"}


def held(schema: dict[str, Any]) -> dict[str, Any]:
    """A checked schema as the grammar is made of: what satisfies it satisfies `schema`, and it lets a weak model stray less."""
    return _dated(_closed(schema) if not _has_conjunctions(schema) else schema)


def _dated(value: Any) -> Any:
    """The same with dates as patterns."""
    if isinstance(value, list):
        return [_dated(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {name: part if name in ("const", "enum", "default", "examples") else _dated(part) for name, part in value.items()}
    pattern = _PATTERNS.get(made["format"]) if isinstance(made.get("format"), str) and "pattern" not in made else None
    if pattern is not None and made.get("type") == "string":
        del made["format"]
        made["pattern"] = pattern
    return made


def _has_conjunctions(schema: Any) -> bool:
    """Whether parts hold together for one object (`allOf`, properties beside `$ref` or `anyOf`): a closed one bars what another names."""
    if not isinstance(schema, dict):
        return False
    together = "allOf" in schema or (("properties" in schema or "required" in schema) and not _ALTERNATIVES.isdisjoint(schema))
    return together or any(_has_conjunctions(part) for _, part in _parts("", schema, ""))


def _closed(schema: Any) -> Any:
    """The same with objects that have the properties which it names and no others, where it does not speak of others: a weak model goes on
    inventing properties as long as it may."""
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
