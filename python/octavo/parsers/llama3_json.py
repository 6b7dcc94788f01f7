"""Llama 3.1 to 3.3: the whole answer is a call object with `parameters`, perhaps behind `<|python_tag|>`."""

from __future__ import annotations

from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._json_calls import JsonCallParser
from octavo.parsers._stream import Script

__all__ = ["CALLS", "Parser", "fits"]

_TAG = "<|python_tag|>"

CALLS = CallFormat(opening='{"name": "{name}", "parameters": ', closing="}", between="; ")


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return '"parameters"' in template and "<|start_header_id|>" in template


class Parser(JsonCallParser):
    """Call objects from the beginning of the answer, with white space or semicolons between them; anything else is text."""

    def script(self) -> Script:
        space = yield from self.skip_space()
        tag = (yield from self.starts_with(_TAG)) or ""
        while (yield from self.calls(space + tag)):
            space = yield from self.skip_space()
            if (yield from self.peek()) == ";":
                yield from self.take()
                space = yield from self.skip_space()
            tag = ""
        yield from self.until(self.text, _TAG)
