"""Tool calls that are JSON objects, `{"name": ..., "arguments": {...}}`, read as they are made."""

from __future__ import annotations

import json
from collections.abc import Callable

from octavo.parsers._stream import Script, StreamParser

__all__ = ["JsonCallParser"]

_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")
_IDS = ("id", "tool_call_id")
_OTHERS = ("type",)


class JsonCallParser(StreamParser):
    """Reads call objects and lists of them."""

    def calls(self, opening: str = "") -> Script:
        """Read one call object, or a list of them; return whether it was one.

        What turns out to be none is emitted as text, `opening`, the tag before it, included. Once a call's name is known it is one.
        """
        opening += yield from self.skip_space()
        if (yield from self.peek()) != "[":
            return (yield from self._object(opening))
        opening += yield from self.take()
        opening += yield from self.skip_space()
        while (yield from self._object(opening)):
            yield from self.skip_space()
            if (yield from self.take()) != ",":
                return True
            opening = yield from self.skip_space()
        return False

    def _object(self, opening: str) -> Script:
        if (yield from self.peek()) == "{":
            reader = _ObjectReader(self)
            if (yield from reader.read()):
                return True
            opening += reader.raw
        self.text(opening)
        return False

    def value(self, emit: Callable[[str], None]) -> Script:
        """Pass the text of one JSON value to `emit`, and nothing behind it; return whether it is whole."""
        depth, in_string, escaped, begun = 0, False, False, False
        while True:
            character = yield from self.peek()
            if not character:
                return begun and depth == 0 and not in_string
            if not in_string and depth == 0 and begun and character in ",]} \t\r\n":
                return True
            yield from self.take()
            emit(character)
            begun = True
            if in_string:
                in_string = escaped or character != '"'
                escaped = character == "\\" and not escaped
            elif character == '"':
                in_string = True
            else:
                depth += (character in "{[") - (character in "}]")
            if depth == 0 and not in_string and character in '"}]':
                return True


class _ObjectReader:
    """One call object. `raw` is what was read of it."""

    def __init__(self, parser: JsonCallParser) -> None:
        self.raw = ""
        self._parser = parser
        self._named = False
        self._id: str | None = None
        self._early: list[str] = []  # arguments that came before the name

    def read(self) -> Script:
        """Return whether it was a call: whether it has a name."""
        yield from self._take()  # the brace
        while True:
            yield from self._space()
            character = yield from self._parser.peek()
            if character == "," and self._named:
                yield from self._take()
            elif character == '"':
                if not (yield from self._pair()):
                    return self._named
            else:
                if character == "}":
                    yield from self._take()
                return self._named

    def _pair(self) -> Script:
        """One key and its value; return whether the object can go on."""
        key = yield from self._json()
        yield from self._space()
        if (yield from self._parser.peek()) != ":":
            return False
        yield from self._take()
        yield from self._space()
        return (yield from self._member(key))

    def _member(self, key: object) -> Script:
        if key in _ARGUMENTS:
            yield from self._arguments()
        elif key in (*_NAMES, *_IDS, *_OTHERS) or self._named:
            value = yield from self._json()
            if key in _NAMES and not self._named:
                if not isinstance(value, str) or not value:
                    return False
                self._start(value)
            elif key in _IDS and isinstance(value, str):
                self._id = value
        else:
            return False
        yield from self._space()
        if not self._named and (yield from self._parser.peek()) == ",":
            yield from self._take()
        return True

    def _start(self, name: str) -> None:
        self._parser.start_call(name, self._id)
        self._named = True
        for piece in self._early:
            self._parser.arguments(piece)

    def _arguments(self) -> Script:
        """Streams an object's text as it comes; a string that holds JSON is unpacked first."""
        if (yield from self._parser.peek()) == '"':
            value = yield from self._json()
            self._emit(value if isinstance(value, str) else "")
        else:
            yield from self._parser.value(self._emit_raw)

    def _emit_raw(self, text: str) -> None:
        self.raw += text
        self._emit(text)

    def _emit(self, text: str) -> None:
        if self._named:
            self._parser.arguments(text)
        else:
            self._early.append(text)

    def _json(self) -> Script:
        pieces: list[str] = []
        yield from self._parser.value(pieces.append)
        text = "".join(pieces)
        self.raw += text
        try:
            return json.loads(text)
        except ValueError:
            return None

    def _take(self) -> Script:
        self.raw += yield from self._parser.take()

    def _space(self) -> Script:
        self.raw += yield from self._parser.skip_space()
