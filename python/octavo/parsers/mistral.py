"""Mistral: `[TOOL_CALLS]` and a JSON list, or `[TOOL_CALLS]name[ARGS]{...}` since version 11 of its tokenizer."""

from __future__ import annotations

import secrets
import string

from octavo.parsers._call_grammar import CallFormat
from octavo.parsers._json_calls import JsonCallParser
from octavo.parsers._stream import Script

__all__ = ["CALLS", "Parser", "fits"]

_BEGIN, _ID, _ARGUMENTS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
_ID_CHARACTERS = string.ascii_letters + string.digits

CALLS = CallFormat(
    opening='{"name": "{name}", "arguments": ', closing="}", before="[TOOL_CALLS] [", between=", ", after="]", marks=("[TOOL_CALLS]",)
)


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _BEGIN in template


class Parser(JsonCallParser):
    """Reads both forms; each call of the second has a `[TOOL_CALLS]` of its own."""

    def script(self) -> Script:
        while (yield from self.until(self.text, _BEGIN)):
            space = yield from self.skip_space()
            if (yield from self.peek()) in ("[", "{"):
                yield from self.calls(_BEGIN + space)
            else:
                yield from self._named_call()

    def _named_call(self) -> Script:
        name, tag = yield from self.read_until(_ID, _ARGUMENTS, "{")
        call_id = None
        if tag == _ID:
            call_id, tag = yield from self.read_until(_ARGUMENTS)
        if tag is None or not name.strip():
            self.text(_BEGIN + name + (tag or ""))
            return
        if tag == "{":
            self.give_back(tag)
        self.start_call(name.strip(), call_id and call_id.strip())
        yield from self.skip_space()
        yield from self.value(self.arguments)

    def new_id(self) -> str:
        """Mistral's templates take ids of nine letters and digits only."""
        return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(9))
