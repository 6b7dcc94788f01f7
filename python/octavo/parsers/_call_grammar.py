"""Grammars that leave a model no choice but to call: the family's own format around arguments that satisfy the tool's schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from octavo.parsers._argument_grammar import Arguments, JsonArguments, Terms
from octavo.structured import lark_grammar

__all__ = ["CallFormat", "Thought"]

_FIELD = "tools"
_MAX_NUMBERED = 16  # calls of an answer in formats that number them


class Thought(NamedTuple):
    """Thinking that may stand in front of the calls.

    Attributes:
        opened: whether the prompt has opened it already: then it must be closed.
    """

    begin: str
    end: str
    opened: bool = False


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a family writes calls.

    Attributes:
        opening: with `{name}` where the tool's name stands, and `{index}` where the format numbers its calls.
        marks: texts in these that some tokenizers have a special token for.
        arguments: how what stands between `opening` and `closing` is written.
        one: the format has one call in an answer, whatever is asked for.
        thought: thinking that the format itself has; what chat templates do with tags comes with each grammar.
    """

    opening: str
    closing: str
    before: str = ""
    between: str = "\n"
    after: str = ""
    marks: tuple[str, ...] = ()
    arguments: Arguments = field(default_factory=JsonArguments)
    one: bool = False
    thought: Thought | None = None

    def grammar(
        self, tools: Sequence[dict[str, Any]], *, many: bool, special_tokens: dict[str, int] | None = None, thought: Thought | None = None
    ) -> str:
        """A grammar of one call, or of one and more.

        Args:
            tools: OpenAI's definitions of those that may be called.
            special_tokens: those among `marks`, and the thought's tags, that the tokenizer has a special token for.
            thought: thinking that may come first.

        Raises:
            InvalidRequestError: a keyword of a tool's schema cannot be honoured; names its path.
        """
        terms = Terms(special_tokens or {}, _FIELD)
        numbered = "{index}" in self.opening
        num_calls = _MAX_NUMBERED if many and numbered and not self.one else 1
        calls = self._chain(num_calls, terms) if numbered else f"call ({terms.of(self.between)} call)*"
        if self.one or not many:
            calls = "call_at_0" if numbered else "call"
        rules = [f"start: {_thought(thought or self.thought, terms)} {terms.of(self.before)} {calls} {terms.of(self.after)}"]
        for index in range(num_calls):
            suffix = f"_at_{index}" if numbered else ""
            rules.append(f"call{suffix}: " + " | ".join(f"call_{number}{suffix}" for number in range(len(tools))))
            rules += [self._call(tool, number, suffix, index, terms) for number, tool in enumerate(tools)]
        for number, tool in enumerate(tools):
            schema = {"type": "object", "additionalProperties": False, **(tool["function"].get("parameters") or {})}
            rules += self.arguments.rules(f"arguments_{number}", schema, terms)
        return lark_grammar("\n".join([*rules, *terms.rules]), _FIELD)

    def _call(self, tool: dict[str, Any], number: int, suffix: str, index: int, terms: Terms) -> str:
        opening = self.opening.replace("{index}", str(index)).replace("{name}", tool["function"]["name"])
        return f"call_{number}{suffix}: {terms.of(opening)} arguments_{number} {terms.of(self.closing)}"

    def _chain(self, num_calls: int, terms: Terms) -> str:
        """Calls number 0, 1, 2, ... of which the first must be there."""
        chain = ""
        for index in reversed(range(1, num_calls)):
            chain = f"({terms.of(self.between)} call_at_{index} {chain})?"
        return f"call_at_0 {chain}"


def _thought(thought: Thought | None, terms: Terms) -> str:
    if thought is None:
        return ""
    body = f"{terms.text_until(thought.end)} (/[ \\n]+/)?"
    return body if thought.opened else f"({terms.of(thought.begin)} {body})?"
