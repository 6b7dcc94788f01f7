"""How the text of this server's model is read: which tool calls and which thinking are in it, and how tools reach its prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from octavo.errors import ConfigError, InvalidRequestError
from octavo.parsers import Parser, call_format, open_parser, parser_name, thought_before

if TYPE_CHECKING:
    from octavo.text.tokenizer import Tokenizer

__all__ = ["NO_PARSER", "Speech"]

NO_PARSER = "none"
Turn = dict[str, Any]
# For models whose template knows nothing of tools: the format that most of them have seen.
_FALLBACK = "hermes"
_INSTRUCTIONS = """You may call functions to answer. Their signatures are within <tools></tools>:
<tools>
{tools}
</tools>
To call one, answer with its name and arguments as JSON within <tool_call></tool_call>:
<tool_call>
{{"name": <function-name>, "arguments": <arguments-object>}}
</tool_call>"""


class Speech:
    """One per server.

    Args:
        template: Jinja source of the model's chat template; empty where it has none.
        tool_parser: a family of `octavo.parsers`, or `none`; None: chosen from the template.

    Raises:
        ConfigError: no such family.
    """

    def __init__(self, template: str, tool_parser: str | None = None) -> None:
        self._template = template
        self._knows_tools = "tools" in template
        self._tool_parser = tool_parser
        if tool_parser not in (None, NO_PARSER):
            try:
                open_parser(tool_parser, template, "")
            except InvalidRequestError as error:
                raise ConfigError(f"--tool-parser: {error}") from error

    @cached_property
    def _family(self) -> str | None:
        """The format of calls. Found when tools first come: every family's file is read for it."""
        return None if self._tool_parser == NO_PARSER else self._tool_parser or parser_name(self._template) or _FALLBACK

    def parser(self, prompt: str, tools: Sequence[dict[str, Any]]) -> Parser | None:
        """A parser for one choice; None where its text is to be shown as it is."""
        return open_parser(self._family if tools else None, self._template, prompt, tools)

    def call_grammar(self, tools: Sequence[dict[str, Any]], tokenizer: Tokenizer, prompt: str, *, many: bool) -> str:
        """A grammar under which the model can do nothing but call one of `tools`, after a thought where it thinks.

        Raises:
            InvalidRequestError: the server was told to read no calls, or a tool's schema cannot be held.
        """
        if self._family is None:
            raise InvalidRequestError("tool_choice: this server was started with --tool-parser none; use 'auto'", "tool_choice")
        calls, thought = call_format(self._family, self._template), thought_before(self._template, prompt)
        marks = [*calls.marks, *(() if thought is None else (thought.begin, thought.end))]
        ids = {mark: tokenizer.encode(mark, add_special_tokens=False) for mark in marks}
        special = {mark: made[0] for mark, made in ids.items() if len(made) == 1 and made[0] in tokenizer.special_token_ids}
        return calls.grammar(tools, many=many, special_tokens=special, thought=thought)

    def prompt_of(
        self, turns: list[dict[str, Any]], tools: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
        """The turns and the tools that the template is given. A template that knows no tools reads of them in the system message."""
        if not tools or self._knows_tools:
            return turns, tools or None
        text = _INSTRUCTIONS.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
        first = turns[0] if turns[0]["role"] == "system" else None
        system = {"role": "system", "content": f"{first['content']}\n\n{text}" if first else text}
        return [system, *(_written_out(turn) for turn in (turns[1:] if first else turns))], None


def _written_out(turn: Turn) -> Turn:
    """A turn of calls, or a tool's answer, as the text that such a template can show."""
    if turn["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{turn['content']}\n</tool_response>"}
    calls = turn.get("tool_calls")
    if not calls:
        return turn
    functions = [call.get("function") or {} for call in calls if isinstance(call, dict)]
    texts = [
        f'<tool_call>\n{{"name": {json.dumps(function.get("name"))}, "arguments": {function.get("arguments") or "{}"}}}\n</tool_call>'
        for function in functions
    ]
    return {"role": turn["role"], "content": "\n".join(filter(None, [turn["content"], *texts]))}
