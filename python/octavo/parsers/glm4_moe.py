"""Zhipu GLM 4.5 and later: `<tool_call>name`, then pairs of `<arg_key>` and `<arg_value>`."""

from __future__ import annotations

from octavo.parsers._stream import Script
from octavo.parsers._typed_arguments import TypedArgumentParser

__all__ = ["Parser", "fits"]

_CALL, _CALL_END = "<tool_call>", "</tool_call>"
_KEY, _KEY_END = "<arg_key>", "</arg_key>"
_VALUE, _VALUE_END = "<arg_value>", "</arg_value>"


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
