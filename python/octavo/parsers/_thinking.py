"""Thinking in tags, `<think>...</think>`, in front of whatever format the rest of the answer has."""

from __future__ import annotations

from collections.abc import Sequence

from octavo.parsers._stream import Script, StreamParser
from octavo.parsers.events import Event, Reasoning, Text

__all__ = ["Thinking", "think_tags"]

_TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"), ("◁think▷", "◁/think▷"))


def think_tags(template: str) -> tuple[str, str] | None:
    """The tags of thinking that a chat template names; None where it knows none."""
    return next((tags for tags in _TAGS if tags[0] in template or tags[1] in template), None)


class Thinking:
    """Splits thinking off; what is left goes through `rest`.

    Args:
        rest: the parser of the answer; None: it is plain text.
        prompt: the prompt's text: a template may have opened the thinking already.
    """

    def __init__(self, tags: tuple[str, str], prompt: str, rest: StreamParser | None) -> None:
        self._splitter = _Splitter(tags, opened=prompt.rstrip().endswith(tags[0]))
        self._rest = rest

    def push(self, text: str) -> list[Event]:
        """See `StreamParser.push`."""
        return self._parsed(self._splitter.push(text))

    def finish(self) -> list[Event]:
        """See `StreamParser.finish`."""
        events = self._parsed(self._splitter.finish())
        return events if self._rest is None else events + self._rest.finish()

    def _parsed(self, events: Sequence[Event]) -> list[Event]:
        if self._rest is None:
            return list(events)
        parsed: list[Event] = []
        for event in events:
            parsed += self._rest.push(event.text) if isinstance(event, Text) else [event]
        return parsed


class _Splitter(StreamParser):
    """Emits reasoning without the white space around it, and everything else as it stands but for the space behind a thought."""

    def __init__(self, tags: tuple[str, str], *, opened: bool) -> None:
        self._begin, self._end = tags
        self._opened = opened
        super().__init__()

    def script(self) -> Script:
        if self._opened:
            yield from self._thought()
        while (yield from self.until(self.text, self._begin)):
            yield from self._thought()

    def _thought(self) -> Script:
        yield from self.skip_space()
        held = ""

        def emit(text: str) -> None:
            nonlocal held
            text = held + text
            sure = text.rstrip()
            held = text[len(sure) :]
            if sure:
                self._events.append(Reasoning(sure))

        if (yield from self.until(emit, self._end)):
            yield from self.skip_space()

    def text(self, text: str) -> None:
        if text:
            self._events.append(Text(text))
