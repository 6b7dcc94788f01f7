"""Structural tags: free text, but for marked parts, which follow a JSON schema. The shape of vLLM's and SGLang's `structural_tag`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from octavo.errors import InvalidRequestError
from octavo.structured.grammar import embedded_schema, lark_grammar

__all__ = ["Structure", "structural_tag_grammar"]


class Structure(NamedTuple):
    """A part of the text: `begin`, JSON of `schema`, `end`."""

    begin: str
    schema: dict[str, Any]
    end: str


def structural_tag_grammar(structures: Sequence[Structure], triggers: Sequence[str], field: str = "structural_tag") -> str:
    """Any text; where one of `triggers` appears in it, one of the structures that begin with it must follow. Marks are plain texts.

    Raises:
        InvalidRequestError: a structure begins with no trigger, a trigger begins none, or a schema cannot be held.
    """
    rules: list[str] = []
    of_trigger: dict[str, list[int]] = {trigger: [] for trigger in triggers if trigger}
    for index, each in enumerate(structures):
        trigger = next((trigger for trigger in of_trigger if each.begin.startswith(trigger)), None)
        if trigger is None:
            raise InvalidRequestError(f"{field}: the structure that begins with {each.begin!r} begins with none of the triggers", field)
        of_trigger[trigger].append(index)
        rest, end = _text(each.begin[len(trigger) :]), _text(each.end)
        rules.append(f"tag_{index}: {rest} %json {embedded_schema(each.schema, field)} {end}")
    for number, (trigger, members) in enumerate(of_trigger.items()):
        if not members:
            raise InvalidRequestError(f"{field}: no structure begins with the trigger {trigger!r}", field)
        rules.append(f"trigger_{number}[lazy]: TEXT {_text(trigger)}")
        rules.append(f"part_{number}: trigger_{number} ({' | '.join(f'tag_{index}' for index in members)})")
    if not of_trigger:
        raise InvalidRequestError(f"{field}: triggers and structures must not be empty", field)
    parts = " | ".join(f"part_{number}" for number in range(len(of_trigger)))
    return lark_grammar("\n".join([f"start: ({parts})* rest", "rest: TEXT", r"TEXT: /(.|\n)*/", *rules]), field)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""
