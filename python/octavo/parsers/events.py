"""What a parser makes of a model's text: plain text, reasoning, and tool calls piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["CallArguments", "CallStart", "Event", "Reasoning", "Text", "joined"]


@dataclass(frozen=True, slots=True)
class Text:
    """Text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text of the model's thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call begins.

    Attributes:
        index: its place among the calls of the choice, from 0.
        call_id: what the client names it by in the tool's answer.
    """

    index: int
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the JSON text of a call's arguments. The pieces of a call, joined, are its arguments."""

    index: int
    text: str


Event = Text | Reasoning | CallStart | CallArguments


def joined(events: Iterable[Event]) -> list[Event]:
    """Neighbours of one kind as one event: what stays the same however the text was cut into pieces."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if (
            isinstance(event, CallStart)
            or last is None
            or type(last) is not type(event)
            or (isinstance(event, CallArguments) and isinstance(last, CallArguments) and event.index != last.index)
        ):
            result.append(event)
        else:
            assert not isinstance(last, CallStart)
            result[-1] = replace(last, text=last.text + event.text)
    return result
