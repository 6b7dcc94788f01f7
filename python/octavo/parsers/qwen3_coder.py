"""Qwen3-Coder: calls as XML, `<function=name><parameter=key>value</parameter></function>` inside `<tool_call>`."""

from __future__ import annotations

from octavo.parsers._argument_grammar import TaggedArguments
from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._stream import Script
from octavo.parsers._typed_arguments import TypedArgumentParser

__all__ = ["CALLS", "Parser", "fits"]

_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_CALL, _CALL_END = "<tool_call>", "</tool_call>"

CALLS = CallFormat(
    opening=f"{_CALL}\n{_FUNCTION}{{name}}>\n",
    closing=f"{_FUNCTION_END}\n{_CALL_END}",
    marks=(_CALL, _CALL_END),
    arguments=TaggedArguments(_PARAMETER, ">\n", f"\n{_PARAMETER_END}"),
)


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _FUNCTION in template and _PARAMETER in template


class Parser(TypedArgumentParser):
    """The tag `<tool_call>` is sometimes forgotten by the model; `<function=` alone begins a call too."""

    def script(self) -> Script:
        while tag := (yield from self.until(self.text, _CALL, _FUNCTION)):
            if tag == _CALL:
                space = yield from self.skip_space()
                if not (yield from self.starts_with(_FUNCTION)):
                    self.text(_CALL + space)
                    continue
            yield from self._call()
            space = yield from self.skip_space()
            if not (yield from self.starts_with(_CALL_END)):
                self.text(space)

    def _call(self) -> Script:
        name, _ = yield from self.read_until(">")
        self.begin_arguments(name.strip())
        while ((yield from self.read_until(_PARAMETER, _FUNCTION_END))[1]) == _PARAMETER:
            key, _ = yield from self.read_until(">")
            yield from self.argument(key.strip(), _PARAMETER_END)
        self.end_arguments()
