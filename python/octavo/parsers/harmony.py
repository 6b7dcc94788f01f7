"""OpenAI's gpt-oss: the harmony format, messages on channels (github.com/openai/harmony).

<|channel|>analysis<|message|>thinking<|end|>
    <|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>
<|channel|>final<|message|>answer<|return|>
"""

from __future__ import annotations

import re

from octavo.parsers._call_grammar import CallFormat, Thought
from octavo.parsers._json_calls import JsonCallParser
from octavo.parsers._stream import Script

__all__ = ["CALLS", "Parser", "fits"]

_MESSAGE, _CHANNEL, _START = "<|message|>", "<|channel|>", "<|start|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", _START)
_RECIPIENT = re.compile(r"to=(?:functions\.)?([\w.\-]+)")

# The prompt ends with `<|start|>assistant`; `<|call|>` is a token that ends the text, as every grammar allows at its end.
CALLS = CallFormat(
    opening=f"{_CHANNEL}commentary to=functions.{{name}} <|constrain|>json{_MESSAGE}",
    closing="",
    marks=(_CHANNEL, _MESSAGE, _START, "<|constrain|>", "<|end|>"),
    one=True,
    thought=Thought(f"{_CHANNEL}analysis{_MESSAGE}", f"<|end|>{_START}assistant"),
)


def fits(template: str) -> bool:
    """Whether a chat template asks for this format."""
    return _CHANNEL in template and _MESSAGE in template


class Parser(JsonCallParser):
    """`analysis` is reasoning, `commentary` with a recipient a call, everything else text of the answer."""

    def script(self) -> Script:
        while True:
            header, tag = yield from self.read_until(_MESSAGE)
            if tag is None:
                self.text(header if _CHANNEL not in header else "")
                return
            yield from self._message(header)

    def _message(self, header: str) -> Script:
        recipient = _RECIPIENT.search(header)
        if recipient:
            self.start_call(recipient[1])
            emit = self.arguments
        else:
            emit = self.reasoning if "analysis" in header else self.text
        yield from self.until(emit, *_ENDS)
