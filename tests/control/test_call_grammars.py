"""A call is forced in every family's format: whatever a random model writes under the grammar, the family's parser reads valid calls."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from octavo.errors import InvalidRequestError
from octavo.parsers import CallArguments, CallStart, Reasoning, Text, Thought, call_format, joined, open_parser
from octavo.plugins import available
from octavo.structured import GrammarCompiler
from octavo.structured.matchers import Matchers
from octavo.text.byte_tokenizer import ByteTokenizer

END = 300
FAMILIES = [name for name in available("octavo.parsers") if name != "events"]
FLAT = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 9},
        "days": {"type": "integer"},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "deep": {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "string", "maxLength": 3}}, "required": ["a"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 2}},
    },
    "required": ["city", "deep"],
}
SCHEMAS = {
    "get_weather": {**FLAT, "additionalProperties": False},
    "now": {"type": "object", "properties": {}, "additionalProperties": False},
    "maybe": {"type": "object", "properties": {"x": {"type": "null"}, "y": {"type": "boolean"}}, "additionalProperties": False},
}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in SCHEMAS.items()]


class MarkedTokenizer(ByteTokenizer):
    """Bytes, an end, and a special token for each mark."""

    def __init__(self, marks: tuple[str, ...]) -> None:
        super().__init__(END + 1 + len(marks))
        self.eos_token_ids = (END,)
        self.marks = {END + 1 + index: mark for index, mark in enumerate(marks)}
        self.special_token_ids = frozenset((END, *self.marks))

    def token_bytes(self, token_id: int) -> bytes:
        return self.marks[token_id].encode() if token_id in self.marks else super().token_bytes(token_id)


def random_text(grammar: str, tokenizer: MarkedTokenizer, chance: random.Random) -> str:
    """A text of the grammar, each token drawn from those that are allowed; printable ones and those that close something more often."""
    compiler = GrammarCompiler(tokenizer, tokenizer.vocab_size)
    compiler.check(grammar, "tools")
    matchers = Matchers(compiler, 1)
    matchers.start_row(0, grammar, [])
    text = b""
    for _ in range(6000):
        bits = np.unpackbits(matchers.masks([0]).view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[: tokenizer.vocab_size]).tolist()
        printable = [token_id for token_id in allowed if token_id > 255 or 32 <= token_id < 127]
        closing = [token_id for token_id in allowed if token_id > 255 or chr(token_id) in '"}]>)<']
        token_id = chance.choice(chance.choice([closing or printable or allowed, printable or allowed, allowed]))
        if token_id == END:
            return text.decode()
        text += tokenizer.token_bytes(token_id)
        matchers.accept(0, [token_id])
    pytest.fail(f"no end after {text[:2000]!r}")


@pytest.mark.parametrize("special", [False, True], ids=["text", "tokens"])
@pytest.mark.parametrize("family", FAMILIES)
def test_random_texts_are_valid_calls(family: str, special: bool) -> None:
    for template in ("", "```json <|tool_call>"):  # for families that write calls in several ways
        calls = replace(call_format(family, template), thought=None)  # a random one never ends
        tokenizer = MarkedTokenizer(calls.marks if special else ())
        tokens = {mark: token_id for token_id, mark in tokenizer.marks.items()}
        for seed in range(12):
            grammar = calls.grammar(TOOLS, many=seed % 2 == 0, special_tokens=tokens)
            text = random_text(grammar, tokenizer, random.Random(seed))
            events = read(family, text)
            made = [event for event in events if isinstance(event, CallStart)]
            assert made and (seed % 2 == 0 or len(made) == 1), text
            assert len({event.call_id for event in made if event.call_id}) in (0, len(made)), "two calls have one id"
            for index, event in enumerate(made):
                arguments = "".join(each.text for each in events if isinstance(each, CallArguments) and each.index == index)
                Draft202012Validator(SCHEMAS[event.name]).validate(json.loads(arguments))
            assert not "".join(event.text for event in events if isinstance(event, Text)).strip(), text


def read(family: str, text: str) -> list:
    parser = open_parser(family, "", "", TOOLS)
    assert parser is not None
    return joined(parser.push(text) + parser.finish())


def test_a_thought_comes_first_where_the_prompt_has_opened_one() -> None:
    grammar = call_format("hermes", "").grammar(TOOLS[1:2], many=False, thought=Thought("<think>", "</think>", opened=True))
    tokenizer = MarkedTokenizer(())
    matchers = Matchers(GrammarCompiler(tokenizer, tokenizer.vocab_size), 1)
    matchers.start_row(0, grammar, [])
    matchers.accept(0, list(b'hm </think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'))
    parser = open_parser("hermes", "<think>", "<think>\n", TOOLS)
    events = joined(parser.push('hm </think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>') + parser.finish())
    assert [type(event) for event in events] == [Reasoning, CallStart, CallArguments]


@pytest.mark.parametrize(
    ("family", "schema", "path"),
    [
        ("qwen3_coder", {"type": "string", "format": "date"}, "/properties/x/format"),
        ("glm4_moe", {"type": "string", "pattern": "a+"}, "/properties/x/pattern"),
        ("gemma", {"type": "integer", "minimum": 3}, "/properties/x/minimum"),
        ("gemma", {"anyOf": [{"type": "integer"}]}, "/properties/x/anyOf"),
        ("pythonic", {"not": {}}, "/properties/x/not"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_by_path(family: str, schema: dict, path: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": schema}}}}
    with pytest.raises(InvalidRequestError, match=path):
        call_format(family, "").grammar([tool], many=True)
