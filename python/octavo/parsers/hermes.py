"""Hermes, Qwen 2.5 and 3, and many that were trained like them: JSON in `<tool_call>` tags (NousResearch's function-calling format)."""

from __future__ import annotations

from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._json_calls import JsonCallParser
from octavo.parsers._stream import Script

__all__ = ["CALLS", "Parser", "fits"]

_BEGIN, _END = "<tool_call>", "</tool_call>"

CALLS = CallFormat(
    opening='<tool_call>\n{"name": "{name}", "arguments": ', closing="}\n</tool_call>", marks=("<tool_call>", "</tool_call>")
)


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _BEGIN in template and "<function=" not in template and "<arg_key>" not in template


class Parser(JsonCallParser):
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, once for each call."""

    def script(self) -> Script:
        while (yield from self.until(self.text, _BEGIN)):
            if (yield from self.calls(_BEGIN)):
                yield from self.read_until(_END)
