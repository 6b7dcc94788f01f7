"""Structured output through a real engine: a model of random weights is the worst author, and every text of it is valid all the same."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator, FormatChecker
from make_tiny_checkpoint import make_tiny_checkpoint
from schemas import SCHEMAS

from octavo import LLM, SamplingParams
from octavo.assemble import build_engine
from octavo.config import EngineConfig, ServerConfig
from octavo.errors import InvalidRequestError
from octavo.plugins import available
from octavo.server.app import build_app
from octavo.structured import choice_grammar, json_schema_grammar, regex_grammar
from octavo.text.chat_template import ChatTemplate

PERSON = {
    "type": "object",
    "properties": {
        "full_name": {"type": "string", "minLength": 2, "maxLength": 12},
        "age_in_years": {"type": "integer", "minimum": 0, "maximum": 120},
        "favourite_colour": {"enum": ["red", "green", "blue"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
    },
    "required": ["full_name", "age_in_years", "favourite_colour", "tags"],
    "additionalProperties": False,
}


NUM_TEXTS = -(-10_000 // len(SCHEMAS)) if os.environ.get("OCTAVO_TEST_ALL") == "1" else 4
CHECKER = FormatChecker()


@CHECKER.checks("time")
def is_time(text: object) -> bool:
    """RFC 3339, section 5.6; the library's own check takes no offset."""
    return re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([zZ]|[+-]([01]\d|2[0-3]):[0-5]\d)", str(text)) is not None


TAG = {
    "type": "structural_tag",
    "structures": [{"begin": "<f=a>", "schema": {"type": "boolean"}, "end": "</f>"}],
    "triggers": ["<f="],
}
TAGGED = "(?s:((?!<f=).|<f=a>(true|false)</f>)*)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint("llama", tmp_path_factory.mktemp("structured"))


@pytest.fixture(scope="module")
def llm(folder: Path) -> Iterator[LLM]:
    with LLM(str(folder), max_num_seqs=8, seed=1) as made:
        yield made


@pytest.fixture(scope="module")
def llm_of_many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = make_tiny_checkpoint(
        "llama", tmp_path_factory.mktemp("many"), hidden_size=32, intermediate_size=32, max_position_embeddings=2048
    )
    with LLM(str(folder), max_num_seqs=64, kv_cache_bytes=64 << 20, seed=1) as made:
        yield made


def sampled(grammar: str, **more: object) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 250, "temperature": 1.0, "seed": 3, "grammar": grammar, **more})


def steps(llm: LLM) -> int:
    return llm.engine.stats().steps


def test_every_text_of_a_random_model_satisfies_the_schema(llm: LLM) -> None:
    params = [sampled(json_schema_grammar(PERSON), seed=seed) for seed in range(24)]
    for output in llm.generate(["a"] * len(params), params):
        [choice] = output.outputs
        assert choice.finish_reason == "stop", choice.text
        Draft202012Validator(PERSON).validate(json.loads(choice.text))


@pytest.mark.parametrize("name", SCHEMAS)
def test_texts_under_a_schema_are_valid(folder: Path, llm_of_many: LLM, name: str) -> None:
    """10,000 texts in all where OCTAVO_TEST_ALL=1 asks for them."""
    schema = SCHEMAS[name]
    validator = Draft202012Validator(schema, format_checker=CHECKER)
    grammar = json_schema_grammar(schema)
    outputs = llm_of_many.generate(["a"] * NUM_TEXTS, [sampled(grammar, seed=seed, max_tokens=None) for seed in range(NUM_TEXTS)])
    for output in outputs:
        [choice] = output.outputs
        assert choice.finish_reason == "stop", choice.text
        validator.validate(json.loads(choice.text))


def test_forced_tokens_save_steps_and_change_nothing(llm: LLM) -> None:
    grammar = json_schema_grammar(PERSON)
    before = steps(llm)
    [forced] = llm.generate(["a"], sampled(grammar, temperature=0.0))
    num_steps = steps(llm) - before
    [plain] = llm.generate(["a"], sampled(grammar, temperature=0.0, logprobs=0))  # with log-probabilities each token has a step
    assert forced.outputs[0].token_ids == plain.outputs[0].token_ids
    assert num_steps < 0.7 * len(forced.outputs[0].token_ids)


def test_it_works_with_choices_streams_preemption_and_free_neighbours(folder: Path) -> None:
    grammar = regex_grammar("(ab|cd){20,40}")
    with LLM(str(folder), max_num_seqs=8, kv_cache_bytes=20 * 16 * 2 * 2 * 2 * 16 * 2, seed=1) as small:
        params = [sampled(grammar, n=3, max_tokens=120), SamplingParams(max_tokens=60, temperature=1.0, seed=5)]
        params.append(sampled(grammar, seed=9, max_tokens=120))
        outputs = small.generate(["a" * 30, "b" * 20, "c" * 10], params)
        assert small.engine.stats().preemptions > 0
        texts = [choice.text for output in (outputs[0], outputs[2]) for choice in output.outputs]
    assert all(re.fullmatch("(ab|cd){20,40}", text) for text in texts)
    assert len(outputs[1].outputs[0].token_ids) > 0


def test_a_wrong_grammar_and_one_that_outgrows_its_bounds_end_alone(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError, match="grammar"):
        llm.generate(["a"], sampled("no grammar"))
    with pytest.raises(InvalidRequestError, match="ignore_eos"):
        sampled(choice_grammar(["a"]), ignore_eos=True)
    [output] = llm.generate(["a"], sampled(choice_grammar(["yes", "no"])))
    assert output.outputs[0].text in ("yes", "no")


@pytest.mark.parametrize(
    ("more", "valid"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}}, "json"),
        ({"structured_outputs": {"json": PERSON}}, "json"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "yes|no"),
        ({"structured_outputs": {"regex": "[0-9]{3}"}}, "[0-9]{3}"),
        ({"structured_outputs": {"grammar": 'root ::= "x" [a-c]'}}, "x[abc]"),
        ({"structured_outputs": {"grammar": 'start: "x" /[a-c]/'}}, "x[abc]"),
        ({"structured_outputs": {"structural_tag": TAG}}, TAGGED),
        ({"response_format": TAG}, TAGGED),
    ],
)
async def test_over_http(folder: Path, more: dict, valid: str) -> None:
    engine = build_engine(EngineConfig.of(model=str(folder), max_num_seqs=4))
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client:
        await engine.start()
        body = {"prompt": "a", "max_tokens": 250, "temperature": 1.0, "seed": 2, **more}
        async with client.post("/v1/completions", json=body) as response:
            document = await response.json()
            assert response.status == 200, document
        refused = {"prompt": "a", "structured_outputs": {"json": {"items": {"not": {}}}}}
        async with client.post("/v1/completions", json=refused) as response:
            error = (await response.json())["error"]
            assert response.status == 400
            assert error["param"] == "structured_outputs"
            assert "/items/not" in error["message"]
        await engine.close()
    text = document["choices"][0]["text"]
    if valid == "json":
        Draft202012Validator(PERSON).validate(json.loads(text))
    else:
        assert re.fullmatch(valid, text)


# gpt-oss thinks before it calls, and a random one for ever
@pytest.mark.parametrize("family", [name for name in available("octavo.parsers") if name not in ("events", "harmony")])
async def test_a_forced_call_is_a_call_whatever_the_model(folder: Path, family: str) -> None:
    engine = build_engine(EngineConfig.of(model=str(folder), max_num_seqs=4))
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
        for name in ("f", "g")
    ]
    engine.tokenizer.chat_template = ChatTemplate({"default": "{{ messages[-1].content }}{# tools #}"}, {})
    async with TestClient(TestServer(build_app(engine, ServerConfig(tool_parser=family)))) as client:
        await engine.start()
        for choice, names in (("required", {"f", "g"}), ({"type": "function", "function": {"name": "g"}}, {"g"})):
            body = {"messages": [{"role": "user", "content": "a"}], "tools": tools, "tool_choice": choice, "temperature": 1.0, "seed": 4}
            async with client.post("/v1/chat/completions", json=body | {"parallel_tool_calls": choice != "required"}) as response:
                document = await response.json()
            assert response.status == 200, document
            [call] = document["choices"][0]["message"]["tool_calls"]
            assert call["function"]["name"] in names
            assert set(json.loads(call["function"]["arguments"])) <= {"n"}
            assert document["choices"][0]["finish_reason"] == "tool_calls"
        async with client.post("/v1/chat/completions", json=body | {"tools": tools[:1]}) as response:
            assert response.status == 400
        await engine.close()
