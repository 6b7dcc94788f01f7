"""Cohere Command R7B and A: a JSON list between `<|START_ACTION|>` and `<|END_ACTION|>`, the answer in `<|START_RESPONSE|>`."""

from __future__ import annotations

from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._json_calls import JsonCallParser
from octavo.parsers._stream import Script

__all__ = ["CALLS", "Parser", "fits"]

_BEGIN, _END = "<|START_ACTION|>", "<|END_ACTION|>"
_FRAMES = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
_THINK, _THINK_END = "<|START_THINKING|>", "<|END_THINKING|>"

CALLS = CallFormat(
    opening='{"tool_call_id": "{index}", "tool_name": "{name}", "parameters": ',
    closing="}",
    before=f"{_BEGIN}[",
    between=", ",
    after=f"]{_END}",
    marks=(_BEGIN, _END),
)


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _BEGIN in template


class Parser(JsonCallParser):
    """Calls name their tool `tool_name` and have `parameters`; thinking stands in tags of its own."""

    def script(self) -> Script:
        while tag := (yield from self.until(self.text, _BEGIN, _THINK, *_FRAMES)):
            if tag == _BEGIN and (yield from self.calls(_BEGIN)):
                yield from self.read_until(_END)
            elif tag == _THINK:
                yield from self.until(self.reasoning, _THINK_END)
