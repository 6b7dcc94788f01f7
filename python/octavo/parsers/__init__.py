"""Tool calls and thinking in a model's text: streaming parsers, one file per family of formats.

A family's file has `Parser`, a `StreamParser` whose script reads the format, `fits(template)`, whether a chat template asks for it, and
`CALLS`, the `CallFormat` that forces a call, or `calls(template)` where it has several. However the text is cut into pieces, the events
joined are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from octavo.errors import InvalidRequestError
from octavo.parsers._call_grammar import CallFormat, Thought
from octavo.parsers._thinking import Thinking, think_tags
from octavo.parsers.events import CallArguments, CallStart, Event, Reasoning, Text, joined
from octavo.plugins import available, load

__all__ = [
    "CallArguments",
    "CallFormat",
    "CallStart",
    "Event",
    "Parser",
    "Reasoning",
    "Text",
    "Thought",
    "call_format",
    "joined",
    "open_parser",
    "parser_name",
    "thought_before",
]

_PACKAGE = "octavo.parsers"
_NOT_FAMILIES = {"events"}


class Parser(Protocol):
    """Text in, events out. After `finish` nothing more may be pushed."""

    def push(self, text: str) -> list[Event]: ...
    def finish(self) -> list[Event]: ...


def parser_name(template: str) -> str | None:
    """The family whose format a chat template asks for; None where it asks for none that is known."""
    families = (name for name in available(_PACKAGE) if name not in _NOT_FAMILIES)
    return next((name for name in families if load(_PACKAGE, name).fits(template)), None)


def call_format(name: str, template: str) -> CallFormat:
    """How the family `name` writes calls, for grammars that force one. Where a family has several ways the chat template tells."""
    family = load(_PACKAGE, name)
    return family.calls(template) if hasattr(family, "calls") else family.CALLS


def thought_before(template: str, prompt: str) -> Thought | None:
    """The thinking that may, or must, come in front of a call: `prompt` may have opened it; None where the template knows none."""
    tags = think_tags(template)
    return None if tags is None else Thought(*tags, opened=prompt.rstrip().endswith(tags[0]))


def open_parser(name: str | None, template: str, prompt: str, tools: Sequence[dict[str, Any]] = ()) -> Parser | None:
    """Return a parser for one choice; None where the model's text is to be shown as it is.

    Args:
        name: the family of tool-call formats; None: text has no calls.
        template: Jinja source of the chat template, which tells the tags of thinking.
        prompt: the prompt's text, which may end inside a thought.
        tools: OpenAI's tool definitions of the request.

    Raises:
        InvalidRequestError: no such family.
    """
    if name in _NOT_FAMILIES:
        name = f"{name} (not a family)"
    try:
        family = None if name is None else load(_PACKAGE, name).Parser(tools)
    except LookupError as error:
        raise InvalidRequestError(str(error), "tool_parser") from error
    tags = think_tags(template)
    return family if tags is None else Thinking(tags, prompt, family)
