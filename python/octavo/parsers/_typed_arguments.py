"""Arguments that a format writes one by one and untyped, `<parameter=city>Paris</parameter>`: the tool's schema makes them JSON."""

from __future__ import annotations

import json
from typing import Any

from octavo.parsers._stream import Script, StreamParser

__all__ = ["TypedArgumentParser"]

_STRING = "string"


class TypedArgumentParser(StreamParser):
    """Writes the JSON object of a call argument by argument; texts stream as they come."""

    def begin_arguments(self, name: str) -> None:
        """Begin the call of the tool `name`."""
        self.start_call(name)
        self._properties: dict[str, Any] = self.schemas.get(name, {}).get("properties") or {}
        self._num_arguments = 0

    def end_arguments(self) -> None:
        """End the object."""
        self.arguments("}" if self._num_arguments else "{}")

    def argument(self, key: str, *ends: str) -> Script:
        """Read a value up to the first of `ends` and write it; return that end. One new line around the value is not part of it."""
        self.arguments(("{" if not self._num_arguments else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
        self._num_arguments += 1
        yield from self.starts_with("\n")
        if _types(self._properties.get(key)) == {_STRING}:
            return (yield from self._string(*ends))
        text, end = yield from self.read_until(*ends)
        self.arguments(_json_of(text.removesuffix("\n"), self._properties.get(key)))
        return end

    def _string(self, *ends: str) -> Script:
        self.arguments('"')
        held = ""

        def emit(text: str) -> None:
            nonlocal held
            text = held + text
            held = "\n" if text.endswith("\n") else ""
            self.arguments(json.dumps(text.removesuffix(held) if held else text, ensure_ascii=False)[1:-1])

        end = yield from self.until(emit, *ends)
        self.arguments('"')
        return end


def _types(schema: Any) -> set[str]:
    """JSON types that a schema allows; empty where it does not say."""
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    types = {kind} if isinstance(kind, str) else set(kind or ())
    for alternative in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        types |= _types(alternative)
    return types


def _json_of(text: str, schema: Any) -> str:
    """The value as JSON text: as it stands where it is JSON of an allowed type, else a string."""
    types = _types(schema)
    stripped = text.strip()
    for spelling in (stripped, stripped.lower()):  # models write True and None too
        try:
            value = json.loads(spelling)
        except ValueError:
            continue
        if not types or _type_of(value) & types:
            return json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False)


def _type_of(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"number"}
    if value is None:
        return {"null"}
    return {"string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"}
