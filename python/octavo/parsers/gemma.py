"""FunctionGemma and Gemma 4: `call:name{key:value}` between special tokens, texts between quote tokens of their own."""

from __future__ import annotations

import json
from typing import NamedTuple

from octavo.parsers._argument_grammar import GemmaArguments
from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._stream import Script, StreamParser

__all__ = ["Parser", "calls", "fits"]


class _Marks(NamedTuple):
    begin: str
    end: str
    quote: str


_MARKS = (
    _Marks("<start_function_call>", "<end_function_call>", "<escape>"),
    _Marks("<|tool_call>", "<tool_call|>", '<|"|>'),
)
_THOUGHT, _THOUGHT_END = "<|channel>thought\n", "<channel|>"


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return any(marks.begin in template for marks in _MARKS)


def calls(template: str) -> CallFormat:
    """How the model of a chat template writes calls: with FunctionGemma's marks, or Gemma 4's."""
    marks = next((marks for marks in _MARKS if marks.begin in template), _MARKS[0])
    return CallFormat(
        opening=f"{marks.begin}call:{{name}}", closing=marks.end, between="", marks=tuple(marks), arguments=GemmaArguments(marks.quote)
    )


class Parser(StreamParser):
    """A call's arguments become JSON when the call is whole; its name is known before."""

    def script(self) -> Script:
        begins = {marks.begin: marks for marks in _MARKS}
        while tag := (yield from self.until(self.text, *begins, _THOUGHT)):
            if tag == _THOUGHT:
                yield from self.until(self.reasoning, _THOUGHT_END)
            else:
                yield from self._call(begins[tag])

    def _call(self, marks: _Marks) -> Script:
        name, tag = yield from self.read_until("{", marks.end)
        if tag != "{" or not name.strip().startswith("call:"):
            self.text(marks.begin + name + (tag or ""))
            return
        self.start_call(name.strip().removeprefix("call:"))
        source, _ = yield from self.read_until(marks.end)
        self.arguments(json.dumps(_Reader("{" + source, marks.quote).value(), ensure_ascii=False))


class _Reader:
    """Reads one value of the format: objects with bare keys, lists, quoted texts, numbers, true, false, null. Lenient at the end."""

    def __init__(self, source: str, quote: str) -> None:
        self._source = source
        self._quote = quote
        self._at = 0

    def value(self) -> object:
        self._skip()
        if self._takes(self._quote):
            return self._text()
        if self._takes("{"):
            return self._object()
        if self._takes("["):
            return self._list()
        return self._bare()

    def _object(self) -> dict[str, object]:
        result: dict[str, object] = {}
        while not self._ends("}"):
            key = self._text() if self._takes(self._quote) else self._word(":")
            self._skip()
            self._takes(":")
            result[key.strip()] = self.value()
            self._skip()
            self._takes(",")
        return result

    def _list(self) -> list[object]:
        result = []
        while not self._ends("]"):
            result.append(self.value())
            self._skip()
            self._takes(",")
        return result

    def _text(self) -> str:
        end = self._source.find(self._quote, self._at)
        end = len(self._source) if end < 0 else end
        text, self._at = self._source[self._at : end], end + len(self._quote)
        return text

    def _bare(self) -> object:
        word = self._word(",}]")
        try:
            return json.loads(word)
        except ValueError:
            return word

    def _word(self, ends: str) -> str:
        start = self._at
        while self._at < len(self._source) and self._source[self._at] not in ends:
            self._at += 1
        if self._at == start:  # nothing stood there: what should not be there is passed over
            self._at += 1
            return ""
        return self._source[start : self._at].strip()

    def _ends(self, bracket: str) -> bool:
        self._skip()
        return self._at >= len(self._source) or self._takes(bracket)

    def _takes(self, text: str) -> bool:
        if self._source.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _skip(self) -> None:
        while self._at < len(self._source) and self._source[self._at].isspace():
            self._at += 1
