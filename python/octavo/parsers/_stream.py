"""The machine under every parser: text comes in pieces, a script written as if it were all there reads it.

A script is a generator. Where it needs text that has not come yet it yields; `push` and `finish` resume it. So a parser reads
from top to bottom like the format that it parses, and cutting the text elsewhere cannot change what it makes of it. Text that may
be the beginning of a tag is held back until the next piece shows whether it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any
from uuid import uuid4

from octavo.parsers.events import CallArguments, CallStart, Event, Reasoning, Text, joined

__all__ = ["Script", "StreamParser"]

Script = Generator[None, None, Any]


class StreamParser:
    """Base of the families' parsers. A family gives `script`.

    Args:
        tools: OpenAI's tool definitions of the request; their schemas say of which type an argument is where a format does not.
    """

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        functions = [tool["function"] for tool in tools if isinstance(tool.get("function"), dict)]
        self.schemas: dict[str, dict[str, Any]] = {function["name"]: function.get("parameters") or {} for function in functions}
        self.num_calls = 0
        self._buffer = ""
        self._ended = False
        self._events: list[Event] = []
        self._space = ""  # white space at the end of the text so far: dropped where a call follows
        self._script = self.script()
        self._done = False

    def script(self) -> Script:
        """Read the whole output of the model."""
        raise TypeError(f"{type(self).__name__} has no script")

    def push(self, text: str) -> list[Event]:
        """Take the next piece of text; return the events that are certain now."""
        self._buffer += text
        return self._resume()

    def finish(self) -> list[Event]:
        """No more text comes; return the events that were held back."""
        self._ended = True
        events = self._resume()
        if self._space and not self.num_calls:
            events.append(Text(self._space))
        return events

    def _resume(self) -> list[Event]:
        if not self._done:
            self._done = next(self._script, self) is self
        if self._done and self._buffer:  # behind the end of the format
            self.text(self._buffer)
            self._buffer = ""
        events, self._events = joined(self._events), []
        return events

    # ---- what a script says -------------------------------------------------------------------------------------------------------

    def text(self, text: str) -> None:
        """Emit text of the answer. White space at its end waits for what follows: before, between and behind calls it is left out."""
        text = self._space + text
        sure = text.rstrip()
        self._space = text[len(sure) :]
        if sure:
            self._events.append(Text(sure))

    def reasoning(self, text: str) -> None:
        """Emit thinking."""
        if text:
            self._events.append(Reasoning(text))

    def start_call(self, name: str, call_id: str | None = None) -> None:
        """Emit the beginning of the next call."""
        self._space = ""
        self._events.append(CallStart(self.num_calls, call_id or self.new_id(), name))
        self.num_calls += 1

    def arguments(self, text: str) -> None:
        """Emit a piece of the arguments of the call that began last."""
        if text:
            self._events.append(CallArguments(self.num_calls - 1, text))

    def new_id(self) -> str:
        """An id for a call whose format has none."""
        return f"call_{uuid4().hex[:24]}"

    # ---- what a script reads ------------------------------------------------------------------------------------------------------

    def until(self, emit: Callable[[str], None], *tags: str) -> Script:
        """Pass text to `emit` up to the first of `tags`, which is consumed and returned; None where the text ends without one."""
        while True:
            found = [(start, -len(tag), tag) for tag in tags if (start := self._buffer.find(tag)) >= 0]
            if found:
                start, _, tag = min(found)
                emit(self._buffer[:start])
                self._buffer = self._buffer[start + len(tag) :]
                return tag
            held = 0 if self._ended else max(_held(self._buffer, tag) for tag in tags)
            sure = len(self._buffer) - held
            emit(self._buffer[:sure])
            self._buffer = self._buffer[sure:]
            if self._ended:
                return None
            yield

    def read_until(self, *tags: str) -> Script:
        """Return (text before the first of `tags`, the tag), the tag consumed; (rest, None) where the text ends without one."""
        pieces: list[str] = []
        tag = yield from self.until(pieces.append, *tags)
        return "".join(pieces), tag

    def peek(self) -> Script:
        """Return the next character without consuming it; an empty string at the end."""
        while not self._buffer and not self._ended:
            yield
        return self._buffer[:1]

    def take(self) -> Script:
        """Consume and return the next character; an empty string at the end."""
        character = yield from self.peek()
        self._buffer = self._buffer[1:]
        return character

    def skip_space(self) -> Script:
        """Consume white space; return it."""
        skipped = ""
        while (yield from self.peek()).isspace():
            skipped += self._buffer[0]
            self._buffer = self._buffer[1:]
        return skipped

    def starts_with(self, *tags: str) -> Script:
        """Consume the one of `tags` that the text begins with and return it; None, with nothing consumed, where it is none."""
        while True:
            for tag in sorted(tags, key=len, reverse=True):
                if self._buffer.startswith(tag):
                    self._buffer = self._buffer[len(tag) :]
                    return tag
                if not self._ended and tag.startswith(self._buffer):
                    break  # it may become this one
            else:
                return None
            yield

    def give_back(self, text: str) -> None:
        """Put text in front of what is read next."""
        self._buffer = text + self._buffer


def _held(text: str, tag: str) -> int:
    """Length of the longest end of `text` that is a beginning of `tag`."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
