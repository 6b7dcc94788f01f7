"""POST /v1/decisions."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import openai
import pytest

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine
from octavo.types import Delta, FinishReason, GenerationRequest, TokenLogprobs

PATH = "/v1/decisions"
PREDICATE = {"type": "predicate", "instructions": "The customer is angry."}
CHOICE = {
    "type": "choice",
    "name": "queue",
    "instructions": "Which queue?",
    "choices": [{"value": "bug"}, {"value": True}, {"value": "spam", "description": "junk"}],
}
SCORE = {"type": "score", "instructions": "How angry?", "levels": [{"label": "calm"}, {"label": "cross"}, {"label": "furious"}]}
SHARES = {ord("A"): 0.5, ord("B"): 0.25, ord("C"): 0.125}  # of all tokens; the rest goes to others


async def labels_script(request: GenerationRequest) -> AsyncIterator[Delta]:
    """The next token has the shares above; only A and B are among the most probable."""
    allowed = request.params.allowed_token_ids
    token_id = ord("A") if allowed is None else allowed[0]
    top = tuple((other, math.log(SHARES[other])) for other in (ord("A"), ord("B"))) if request.params.logprobs else ()
    yield Delta(0, "A", [token_id], [TokenLogprobs(token_id, math.log(SHARES[token_id]), 1, top)], FinishReason.LENGTH, num_cached_tokens=2)


@pytest.fixture
async def server(start_server: StartServer) -> Server:
    return await start_server(ScriptedEngine(script=labels_script, max_model_len=4096))


async def test_the_openai_package_reads_the_answers(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        decision = await client.decisions.create(model="toy", input="It broke again!", questions=[PREDICATE, CHOICE, SCORE])
    predicate, choice, score = decision.answers
    assert predicate.probability == pytest.approx(2 / 3)
    assert (choice.name, choice.choice) == ("queue", "bug")
    assert [(one.value, one.probability) for one in choice.probabilities] == [
        ("bug", pytest.approx(4 / 7)),
        (True, pytest.approx(2 / 7)),
        ("spam", pytest.approx(1 / 7)),
    ]
    assert score.score == pytest.approx(0 * 4 / 7 + 1 * 2 / 7 + 2 * 1 / 7)
    assert [(one.value, one.label) for one in score.probabilities] == [(0, "calm"), (1, "cross"), (2, "furious")]
    assert 0 < choice.confidence < 1
    assert decision.usage.output_tokens == 0
    assert decision.usage.input_tokens == decision.usage.total_tokens > 0


async def test_a_label_that_is_not_among_the_most_probable_is_asked_for(server: Server) -> None:
    await server.post(PATH, {"input": "x", "questions": [CHOICE]})
    first, second = server.engine.requests
    assert (first.params.allowed_token_ids, second.params.allowed_token_ids) == (None, (ord("C"),))
    assert first.prompt_token_ids == second.prompt_token_ids


async def test_the_prompt_has_the_input_and_the_labelled_answers(server: Server) -> None:
    messages = [
        {"role": "developer", "content": "Be strict."},
        {"role": "user", "content": [{"type": "input_text", "text": "It "}, {"type": "input_text", "text": "broke"}], "type": "message"},
    ]
    await server.post(PATH, {"model": "toy", "input": messages, "questions": [CHOICE]})
    text = server.engine.tokenizer.decode(server.engine.requests[0].prompt_token_ids)
    assert text.startswith("<system>Be strict.\n<user>It \nbroke\n<user>Which answer fits? Which queue?\n")
    assert "\nA. bug\nB. True\nC. spam: junk\n" in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"questions": []}, "questions"),
        ({"questions": [{"type": "riddle", "instructions": "a"}]}, "questions[0]"),
        ({"questions": [{**CHOICE, "choices": [{"value": "a"}]}]}, "choices"),
        ({"questions": [{**CHOICE, "choices": [{"value": "a"}] * 2}]}, "same value"),
        ({"questions": [{**SCORE, "levels": [{"label": 5}] * 2}]}, "levels[0].label"),
        ({"questions": [{**CHOICE, "choices": [{"value": str(index)} for index in range(250)]}]}, "one-token labels for 62 answers only"),
        ({"questions": [PREDICATE] * 401}, "questions"),
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "part 0 is no text"),
        ({"model": "gpt-17"}, "gpt-17"),
    ],
)
async def test_bad_bodies(server: Server, change: dict, text: str) -> None:
    status, document = await server.post(PATH, {"input": "x", "questions": [PREDICATE], **change})
    assert status in (400, 404)
    assert text in document["error"]["message"]
    assert not server.engine.num_live
