"""Grammars as masks: what a random model writes under them is right, and what cannot be held is refused by path."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from octavo.errors import InvalidRequestError
from octavo.structured import (
    GrammarCompiler,
    Structure,
    choice_grammar,
    ebnf_grammar,
    json_object_grammar,
    json_schema_grammar,
    lark_grammar,
    regex_grammar,
    structural_tag_grammar,
)
from octavo.structured.matchers import Matchers
from octavo.text.byte_tokenizer import ByteTokenizer

END = 300


class Tokenizer(ByteTokenizer):
    """Bytes, and a token that ends a text."""

    def __init__(self) -> None:
        super().__init__(END + 1)
        self.eos_token_ids = (END,)
        self.special_token_ids = frozenset((END,))


CLOSED = {"additionalProperties": False}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["a", "b", None]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^x[0-9]+$"}, "maxItems": 3},
        "more": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/point"}]},
    },
    "required": ["name", "age", "more"],
    "additionalProperties": False,
    "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "boolean"}}, "required": ["x"]}},
}


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    tokenizer = Tokenizer()
    return GrammarCompiler(tokenizer, tokenizer.vocab_size)


def write(compiler: GrammarCompiler, grammar: str, seed: int, most: int = 2000) -> bytes:
    """What a model of random weights writes: any allowed token, with the ones that the grammar forces taken at once."""
    tokenizer, draw = Tokenizer(), random.Random(seed)
    matchers = Matchers(compiler, 1)
    matchers.start_row(0, grammar, [])
    text = b""
    for _ in range(most):
        forced = matchers.forced(0, 8)
        if forced:
            token_ids = forced
        else:
            bits = np.unpackbits(matchers.masks([0]).view(np.uint8), bitorder="little")[: compiler.vocab_size]
            allowed = np.flatnonzero(bits)
            closing = [
                token_id for token_id in allowed if token_id in tokenizer.eos_token_ids or tokenizer.token_bytes(int(token_id)) in b'"}],'
            ]
            token_ids = [int(draw.choice(closing if closing and draw.random() < 0.3 else allowed))]
        matchers.accept(0, token_ids)
        if token_ids[-1] in tokenizer.eos_token_ids:
            return text
        text += b"".join(map(tokenizer.token_bytes, token_ids))
    raise AssertionError(f"no end after {most} tokens: {text[-200:]!r}")


@pytest.mark.parametrize("seed", range(20))
def test_random_text_under_a_schema_is_valid(compiler: GrammarCompiler, seed: int) -> None:
    grammar = json_schema_grammar(PERSON)
    compiler.check(grammar, "schema")
    document = json.loads(write(compiler, grammar, seed))
    Draft202012Validator(PERSON).validate(document)


def test_json_comes_out_as_json_dumps_writes_it(compiler: GrammarCompiler) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"const": [1, 2]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert write(compiler, json_schema_grammar(schema), 0) == b'{"a": 1, "b": [1, 2]}'


def test_a_trigger_is_followed_by_one_of_its_structures(compiler: GrammarCompiler) -> None:
    structures = [Structure("<f=a>", {"type": "boolean"}, "</f>"), Structure("<f=b>", {"const": 1}, "</f>"), Structure("[x", {}, "]")]
    grammar = structural_tag_grammar(structures, ["<f=", "[x"])
    compiler.check(grammar, "structural_tag")
    for text, valid in (
        ("any text", True),
        ("ab <f=a>true</f> c <f=b>1</f><f=", True),
        ("<f=a>1", False),
        ("<f=c", False),
        ("[x3]", True),
        ("[x]", False),
    ):
        matcher = compiler.matcher(grammar)
        assert (matcher.try_consume_tokens(list(text.encode())) == len(text)) is valid, text
    for wrong, triggers in ([], ["<"]), ([], []), (structures, ["<f="]), (structures[:1], ["<f=", "["]):
        with pytest.raises(InvalidRequestError, match="structural_tag"):
            structural_tag_grammar(wrong, triggers)


def test_other_kinds_of_constraint(compiler: GrammarCompiler) -> None:
    for seed in range(5):
        assert re.fullmatch(r"[a-c]{2,4}-\d", write(compiler, regex_grammar(r"[a-c]{2,4}-\d"), seed).decode())
        assert write(compiler, choice_grammar(["yes", "no", 'a "b"']), seed).decode() in ("yes", "no", 'a "b"')
        assert write(compiler, ebnf_grammar('root ::= "x" ("y" | "z")'), seed) in (b"xy", b"xz")
        assert isinstance(json.loads(write(compiler, json_object_grammar(), seed)), dict)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "object", "patternProperties": {"^x": {}}}, "/patternProperties"),
        ({"properties": {"a": {"anyOf": [{}, {"uniqueItems": True}]}}}, "/properties/a/anyOf/1/uniqueItems"),
        ({"items": {"not": {}}}, "/items/not"),
        ({"x-guidance": {"lenient": True}}, "/x-guidance"),
        ({"properties": []}, "/properties"),
        ({"properties": {"a": 1}}, "/properties/a"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_path(schema: dict, path: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(f"response_format: {path} ")) as refused:
        json_schema_grammar(schema)
    assert refused.value.param == "response_format"


def test_objects_have_the_properties_that_are_named_unless_the_schema_says_otherwise(compiler: GrammarCompiler) -> None:
    named = {"type": "object", "properties": {"a": {"type": "integer"}}}
    conjunction = {"allOf": [named, {"properties": {"b": {"const": 1}}}], "required": ["b"]}
    for schema, text, fits in (
        (named, '{"b": 1}', False),
        ({"$defs": {"n": named}, "properties": {"x": {"$ref": "#/$defs/n"}}}, '{"x": {"b": 1}}', False),
        ({**named, "additionalProperties": True}, '{"b": 1}', True),
        ({**named, "required": ["b"]}, '{"b": 1}', True),
        (conjunction, '{"a": 2, "b": 1}', True),
    ):
        grammar = json_schema_grammar(schema)
        compiler.check(grammar, "schema")
        assert (compiler.matcher(grammar).try_consume_tokens(list(text.encode())) == len(text)) is fits, schema


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2024-02-29", True),
        ("2000-02-29", True),
        ("2023-02-29", False),
        ("1900-02-29", False),
        ("0400-02-29", True),
        ("0000-01-01", False),
        ("2023-04-31", False),
        ("2023-12-31", True),
    ],
)
def test_dates_are_days_that_there_are(compiler: GrammarCompiler, text: str, valid: bool) -> None:
    for kind, rest in (("date", ""), ("date-time", "T23:59:00.5+01:00")):
        grammar = json_schema_grammar({"properties": {"format": {"type": "string", "format": kind}}, "required": ["format"]})
        compiler.check(grammar, "schema")
        whole = f'{{"format": "{text}{rest}"}}'
        assert (compiler.matcher(grammar).try_consume_tokens(list(whole.encode())) == len(whole)) is valid


def test_deep_nesting_is_refused() -> None:
    schema: dict = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(InvalidRequestError, match="nested"):
        json_schema_grammar(schema)


@pytest.mark.parametrize(
    "grammar", [regex_grammar("(a|b"), json_schema_grammar({"type": "objec"}), lark_grammar("start: missing"), json_schema_grammar(False)]
)
def test_a_wrong_grammar_is_refused_before_anything_is_queued(compiler: GrammarCompiler, grammar: str) -> None:
    with pytest.raises(InvalidRequestError, match="grammar: the grammar cannot be used"):
        compiler.check(grammar, "grammar")


def test_a_grammar_that_outgrows_its_bounds_is_an_error_of_its_row(compiler: GrammarCompiler) -> None:
    grammar = regex_grammar("(.*a.{0,300}b.{0,300}c.{0,300}){1,300}")
    matchers = Matchers(compiler, 1)
    with pytest.raises(ValueError, match="grammar"):
        matchers.start_row(0, grammar, [])
        for token_id in b"xaybzc" * 300:
            matchers.masks([0])
            matchers.accept(0, [token_id])


def test_empty_choices_and_a_huge_grammar_are_refused() -> None:
    for choices in ([], [""], [1]):
        with pytest.raises(InvalidRequestError, match="choice"):
            choice_grammar(choices)
    with pytest.raises(InvalidRequestError, match="at most"):
        regex_grammar("a" * 300_000)


def test_rows_begin_again_behind_what_they_drew_and_fork(compiler: GrammarCompiler) -> None:
    grammar = choice_grammar(["abc", "abd"])
    matchers = Matchers(compiler, 1)
    matchers.start_row(3, grammar, list(b"ab"))
    matchers.fork_row(4, 3)
    matchers.accept(3, list(b"c"))
    masks = matchers.masks([3, 9, 4])
    bits = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")[:, : compiler.vocab_size]
    assert set(np.flatnonzero(bits[0])) == set(Tokenizer().eos_token_ids)
    assert bits[1].all()
    assert set(np.flatnonzero(bits[2])) == set(b"cd")
    matchers.end_row(3)
    assert 3 not in matchers
    assert matchers.masks([3]) is None
    with pytest.raises(ValueError, match="does not follow"):
        matchers.accept(4, list(b"x"))


def test_a_model_that_cannot_draw_the_end_takes_no_grammar():
    with pytest.raises(InvalidRequestError, match="no end-of-sequence token") as refusal:
        GrammarCompiler(Tokenizer(), 50).check(regex_grammar("a"), "grammar")
    assert refusal.value.param == "grammar"


@pytest.mark.parametrize("vocab_size", [END + 1, END + 2, 320, 400])
def test_a_model_may_have_more_ids_than_its_tokenizer(vocab_size):
    """As Qwen's: 151,936 against 151,665. What the tokenizer does not know is never written."""
    matchers = Matchers(GrammarCompiler(Tokenizer(), vocab_size), 1)
    matchers.start_row(0, regex_grammar("[^a]"), [])
    masks = matchers.masks([0])
    assert masks.shape == (1, -(-vocab_size // 32))
    bits = np.unpackbits(masks.view(np.uint8), bitorder="little")
    assert bits[ord("b")] == 1
    assert not bits[ord("a")]
    assert not bits[END:].any()
