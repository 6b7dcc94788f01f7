"""Llama 3.2 and 4, and others: calls as a Python list, `[get_weather(city="Paris"), now()]`."""

from __future__ import annotations

import ast
import json
import re

from octavo.parsers._argument_grammar import PythonArguments
from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._stream import Script, StreamParser

__all__ = ["CALLS", "Parser", "fits"]

_START, _END = "<|python_start|>", "<|python_end|>"
_NAME = re.compile(r"[A-Za-z_][\w.\-]*\Z")
_PAIRS = {"(": ")", "[": "]", "{": "}"}

CALLS = CallFormat(opening="{name}(", closing=")", before="[", between=", ", after="]", arguments=PythonArguments())


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return "func_name1(params_name1=" in template or _START in template


class Parser(StreamParser):
    """A list of calls at the beginning of the answer, perhaps between `<|python_start|>` and `<|python_end|>`; anything else is text."""

    def script(self) -> Script:
        space = yield from self.skip_space()
        opening = space + ((yield from self.starts_with(_START)) or "")
        if (yield from self.peek()) == "[":
            opening += yield from self.take()
            yield from self._calls(opening)
        else:
            self.text(opening)
        while (yield from self.until(self.text, _END)):
            continue

    def _calls(self, opening: str) -> Script:
        while True:
            space = yield from self.skip_space()
            name, bracket = yield from self._name()
            if bracket != "(" or not _NAME.match(name):
                self.text(opening + space + name + bracket)
                return
            self.start_call(name)
            yield from self._arguments()
            yield from self.skip_space()
            if (yield from self.take()) != ",":
                return
            opening = ","

    def _name(self) -> Script:
        name = ""
        while (character := (yield from self.take())) and (character.isalnum() or character in "_.-"):
            name += character
        return name, character

    def _arguments(self) -> Script:
        """One piece of JSON for each keyword argument, as soon as it is whole."""
        opening = "{"
        while True:
            source, last = yield from self._argument()
            key, equals, value = source.partition("=")
            if equals:
                self.arguments(f"{opening}{json.dumps(key.strip())}: {_json_of(value.strip())}")
                opening = ", "
            if last != ",":
                break
        self.arguments("}" if opening == ", " else "{}")

    def _argument(self) -> Script:
        """Source text up to the comma or the parenthesis that ends it, and which it was."""
        source, closing, quote = "", [], ""
        while character := (yield from self.take()):
            if quote:
                if character == "\\":
                    character += yield from self.take()
                elif character == quote:
                    quote = ""
            elif character in "'\"":
                quote = character
            elif character in _PAIRS:
                closing.append(_PAIRS[character])
            elif closing and character == closing[-1]:
                closing.pop()
            elif not closing and character in ",)":
                return source, character
            source += character
        return source, ""


def _json_of(source: str) -> str:
    """JSON as it stands, a Python literal as JSON; what is neither as a string."""
    for read in (_strict_json, ast.literal_eval):
        try:
            return json.dumps(read(source), ensure_ascii=False, allow_nan=False)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return json.dumps(source, ensure_ascii=False)


def _strict_json(source: str) -> object:
    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(source, parse_constant=refuse)
