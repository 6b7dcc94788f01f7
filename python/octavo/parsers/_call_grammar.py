"""Grammars that leave a model no choice but to call: the family's own format around arguments that satisfy the tool's schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from octavo.structured import embedded_schema, lark_grammar

__all__ = ["CallFormat"]

_FIELD = "tools"


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a family writes calls whose arguments are JSON. `opening` has `{name}` where the tool's name stands."""

    opening: str
    closing: str
    before: str = ""
    between: str = "\n"
    after: str = ""

    def grammar(self, tools: Sequence[dict[str, Any]], *, many: bool) -> str:
        """A grammar of one call, or of one and more.

        Args:
            tools: OpenAI's definitions of those that may be called.

        Raises:
            InvalidRequestError: a keyword of a tool's schema cannot be honoured; names its path.
        """
        calls = " | ".join(f"call_{index}" for index in range(len(tools)))
        more = f"({_text(self.between)} call)*" if many else ""
        rules = [f"start: {_text(self.before)} call {more} {_text(self.after)}", f"call: {calls}"]
        for index, tool in enumerate(tools):
            function = tool["function"]
            schema = {"type": "object", "additionalProperties": False, **(function.get("parameters") or {})}
            opening, closing = _text(self.opening.replace("{name}", function["name"])), _text(self.closing)
            rules.append(f"call_{index}: {opening} arguments_{index} {closing}")
            rules.append(f"arguments_{index}: %json {embedded_schema(schema, _FIELD)}")
        return lark_grammar("\n".join(rules), _FIELD)


def _text(text: str) -> str:
    """A literal of the grammar; nothing for an empty text."""
    return json.dumps(text, ensure_ascii=False) if text else ""
