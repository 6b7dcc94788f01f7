"""Moonshot Kimi K2: calls between special tokens; the id is `functions.<name>:<number>` and names the tool."""

from __future__ import annotations

from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._json_calls import JsonCallParser
from octavo.parsers._stream import Script

__all__ = ["CALLS", "Parser", "fits"]

_SECTION, _SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL, _ARGUMENTS, _CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"

CALLS = CallFormat(
    opening=f"{_CALL}functions.{{name}}:{{index}}{_ARGUMENTS}",
    closing=_CALL_END,
    before=_SECTION,
    between="",
    after=_SECTION_END,
    marks=(_SECTION, _SECTION_END, _CALL, _ARGUMENTS, _CALL_END),
)


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _SECTION in template


class Parser(JsonCallParser):
    """Keeps the model's own ids, because its template looks for them."""

    def script(self) -> Script:
        while (yield from self.until(self.text, _SECTION)):
            while ((yield from self.read_until(_CALL, _SECTION_END))[1]) == _CALL:
                call_id, tag = yield from self.read_until(_ARGUMENTS, _CALL_END)
                if tag == _ARGUMENTS:
                    self.start_call(call_id.strip().rpartition(":")[0].removeprefix("functions."), call_id.strip())
                    yield from self.skip_space()
                    yield from self.value(self.arguments)
                    yield from self.read_until(_CALL_END)
