"""DeepSeek V3, R1 and V3.1: calls between special tokens, arguments as JSON, in V3 and R1 inside a Markdown fence."""

from __future__ import annotations

from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._json_calls import JsonCallParser
from octavo.parsers._stream import Script

__all__ = ["Parser", "calls", "fits"]

_SECTION, _SECTION_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _SEPARATOR, _CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _SECTION in template


def calls(template: str) -> CallFormat:
    """How the model of a chat template writes calls: V3 and R1 with a fence around the arguments, later ones without."""
    fenced = "```json" in template
    opening = f"{_CALL}function{_SEPARATOR}{{name}}\n```json\n" if fenced else f"{_CALL}{{name}}{_SEPARATOR}"
    return CallFormat(
        opening=opening,
        closing=f"\n```{_CALL_END}" if fenced else _CALL_END,
        before=_SECTION,
        between="\n" if fenced else "",
        after=_SECTION_END,
        marks=(_SECTION, _SECTION_END, _CALL, _SEPARATOR, _CALL_END),
    )


class Parser(JsonCallParser):
    """V3: `function<｜tool▁sep｜>name`, a new line, a fence. V3.1: `name<｜tool▁sep｜>{...}`."""

    def script(self) -> Script:
        while (yield from self.until(self.text, _SECTION)):
            while ((yield from self.read_until(_CALL, _SECTION_END))[1]) == _CALL:
                yield from self._call()

    def _call(self) -> Script:
        kind, tag = yield from self.read_until(_SEPARATOR, _CALL_END)
        if tag != _SEPARATOR:
            return
        yield from self.skip_space()
        if (yield from self.peek()) == "{":
            self.start_call(kind.strip())
        else:
            name, _ = yield from self.read_until("\n")
            self.start_call(name.strip())
            yield from self.skip_space()
            yield from self.starts_with("```json")
            yield from self.skip_space()
        yield from self.value(self.arguments)
        yield from self.read_until(_CALL_END)
