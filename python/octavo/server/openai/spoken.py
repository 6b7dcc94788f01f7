"""A choice's text as OpenAI shows it: content, reasoning and tool calls, piece by piece or whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from octavo.parsers import CallArguments, CallStart, Event, Parser, Reasoning, Text

__all__ = ["SpokenChoice", "spoken_message"]


class SpokenChoice:
    """Reads one choice's text as it comes.

    Attributes:
        called: whether it has called a tool so far.
    """

    def __init__(self, parser: Parser | None, *, shows_reasoning: bool) -> None:
        self._parser = parser
        self._shows_reasoning = shows_reasoning
        self.called = False

    def delta(self, text: str, *, ends: bool) -> dict[str, Any]:
        """Return the `delta` object of the next piece of text; empty where it says nothing yet."""
        if self._parser is None:
            return {"content": text} if text else {}
        events = self._parser.push(text) + (self._parser.finish() if ends else [])
        delta: dict[str, Any] = {}
        for event in events:
            self._add(delta, event)
        return delta

    def _add(self, delta: dict[str, Any], event: Event) -> None:
        if isinstance(event, Text):
            delta["content"] = delta.get("content", "") + event.text
        elif isinstance(event, Reasoning):
            if self._shows_reasoning:
                delta["reasoning_content"] = delta["reasoning"] = delta.get("reasoning", "") + event.text
        else:
            self.called = True
            calls = delta.setdefault("tool_calls", [])
            if isinstance(event, CallStart):
                calls.append(_call(event) | {"index": event.index})
            elif calls and calls[-1]["index"] == event.index:
                calls[-1]["function"]["arguments"] += event.text
            else:
                calls.append({"index": event.index, "function": {"arguments": event.text}})


def spoken_message(parser: Parser | None, text: str, *, shows_reasoning: bool) -> dict[str, Any]:
    """Return the `message` object of a whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if parser is None:
        return message
    events = parser.push(text) + parser.finish()
    reasoning = "".join(event.text for event in events if isinstance(event, Reasoning))
    calls = _calls(events)
    message["content"] = "".join(event.text for event in events if isinstance(event, Text))
    if reasoning and shows_reasoning:
        message["reasoning_content"] = message["reasoning"] = reasoning
    if calls:
        message |= {"content": message["content"] or None, "tool_calls": calls}
    return message


def _calls(events: Sequence[Event]) -> list[dict[str, Any]]:
    calls = {event.index: _call(event) for event in events if isinstance(event, CallStart)}
    for event in events:
        if isinstance(event, CallArguments):
            calls[event.index]["function"]["arguments"] += event.text
    return list(calls.values())


def _call(event: CallStart) -> dict[str, Any]:
    return {"id": event.call_id, "type": "function", "function": {"name": event.name, "arguments": ""}}
