"""IBM Granite 3: a JSON list behind `<|tool_call|>` (also written `<tool_call>`)."""

from __future__ import annotations

from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._json_calls import JsonCallParser
from octavo.parsers._stream import Script

__all__ = ["CALLS", "Parser", "fits"]

_BEGIN = "<|tool_call|>"

CALLS = CallFormat(
    opening='{"name": "{name}", "arguments": ', closing="}", before="<|tool_call|>[", between=", ", after="]", marks=("<|tool_call|>",)
)


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _BEGIN in template


class Parser(JsonCallParser):
    """`<|tool_call|>[{"name": ..., "arguments": {...}}, ...]`."""

    def script(self) -> Script:
        while tag := (yield from self.until(self.text, _BEGIN, "<tool_call>")):
            yield from self.calls(tag)
