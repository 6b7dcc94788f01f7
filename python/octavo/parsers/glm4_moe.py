"""Zhipu GLM 4.5 and later: `<tool_call>name`, then pairs of `<arg_key>` and `<arg_value>`."""

from __future__ import annotations

from octavo.parsers._argument_grammar import TaggedArguments
from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._stream import Script
from octavo.parsers._typed_arguments import TypedArgumentParser

__all__ = ["CALLS", "Parser", "fits"]

_CALL, _CALL_END = "<tool_call>", "</tool_call>"
_KEY, _KEY_END = "<arg_key>", "</arg_key>"
_VALUE, _VALUE_END = "<arg_value>", "</arg_value>"

CALLS = CallFormat(
    opening=f"{_CALL}{{name}}\n",
    closing=_CALL_END,
    marks=(_CALL, _CALL_END, _KEY, _KEY_END, _VALUE, _VALUE_END),
    arguments=TaggedArguments(_KEY, f"{_KEY_END}\n{_VALUE}", _VALUE_END),
)


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _KEY in template


class Parser(TypedArgumentParser):
    """Values are written untyped; the tool's schema says what they are."""

    def script(self) -> Script:
        while (yield from self.until(self.text, _CALL)):
            name, tag = yield from self.read_until(_KEY, _CALL_END)
            if not name.strip():
                self.text(_CALL + name + (tag or ""))
                continue
            self.begin_arguments(name.strip())
            while tag == _KEY:
                key, _ = yield from self.read_until(_KEY_END)
                yield from self.read_until(_VALUE)
                yield from self.argument(key.strip(), _VALUE_END)
                _, tag = yield from self.read_until(_KEY, _CALL_END)
            self.end_arguments()
