"""POST /v1/decisions: questions with few possible answers, and how likely the model holds each (OpenAI's Decisions API).

Each answer gets a label of one token, and the model is asked for a label. No text is made: an answer's probability is that of its label
as the next token, divided by the sum over all labels. Log-probabilities come with the most probable tokens; a label that is not among
them is asked for by itself, with the prompt's blocks from the prefix cache. The input is prefilled with the first question and shared by
the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import web

from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.edge.errors import ApiError
from octavo.server.edge.generation import Generation, Prompt
from octavo.server.openai.decision_body import ChoiceQuestion, DecisionsBody, Predicate, ScoreQuestion
from octavo.server.openai.decision_labels import answers_of, labels, question_text
from octavo.server.openai.messages import Message
from octavo.server.openai.models import check_model
from octavo.server.openai.prompts import chat_prompt
from octavo.server.openai.protocol import TemplateOptions
from octavo.types import GenerationRequest, SamplingParams

__all__ = ["ROUTES"]

_MAX_TOP = 64  # alternatives that the engine reports
_MAX_ANSWERS = 1024  # of all questions
_LABEL_SIZE = 400  # characters whose tokenizing takes as long as looking for a label


@dataclass(slots=True)
class _Asked:
    """One question on its way: its prompt, the token of each answer's label, and the log-probabilities known so far."""

    prompt: Prompt
    token_ids: list[int]
    logprobs: dict[int, float]
    num_cached_tokens: int = 0

    def probabilities(self) -> list[float]:
        """Return the share of each answer, in order."""
        known = [self.logprobs[token_id] for token_id in self.token_ids]
        weights = [math.exp(logprob - max(known)) for logprob in known]
        return [weight / sum(weights) for weight in weights]


async def _decisions(request: web.Request) -> web.Response:
    body = await read_body(request, DecisionsBody)
    context = request.app[CONTEXT]
    model = check_model(context, body.model)
    num_answers = [len(answers_of(question)) for question in body.questions]
    if sum(num_answers) > _MAX_ANSWERS:
        message = f"the questions have more than {_MAX_ANSWERS} answers; send several requests"
        raise ApiError(400, message, param="questions", code="invalid_value")
    most = max(num_answers)
    tokens = await context.workers.run(most * _LABEL_SIZE, lambda: labels(context.engine.tokenizer, most))
    asked = [await _asked(context, body, question, list(tokens.items())) for question in body.questions]
    await _score(context, asked[:1])
    await _score(context, asked[1:])
    answers = [_answer(question, one.probabilities()) for question, one in zip(body.questions, asked, strict=True)]
    document = {"model": model, "answers": answers, "usage": _usage(asked)}
    return web.Response(body=orjson.dumps(document), content_type="application/json")


async def _asked(
    context: ServerContext, body: DecisionsBody, question: Predicate | ChoiceQuestion | ScoreQuestion, tokens: list[tuple[str, int]]
) -> _Asked:
    tokens = tokens[: len(answers_of(question))]
    turns = [Message.model_construct(role=message.role, content=message.content) for message in body.input]
    turns.append(Message.model_construct(role="user", content=question_text(question, [name for name, _ in tokens])))
    prompt = await chat_prompt(context, turns, TemplateOptions(), add_special_tokens=False)
    return _Asked(prompt, [token_id for _, token_id in tokens], {})


async def _score(context: ServerContext, asked: Sequence[_Asked]) -> None:
    """Fill in the log-probabilities of all labels."""
    await _ask(context, [(one, None) for one in asked])
    await _ask(context, [(one, token_id) for one in asked for token_id in one.token_ids if token_id not in one.logprobs])


async def _ask(context: ServerContext, wanted: Sequence[tuple[_Asked, int | None]]) -> None:
    """Ask for the next token of each prompt: for the most probable one and its alternatives, or for one token and no other."""
    if not wanted:
        return
    request_id = f"decision-{uuid4().hex}"
    requests = [
        GenerationRequest(f"{request_id}-{index}", one.prompt.token_ids, _params(token_id)) for index, (one, token_id) in enumerate(wanted)
    ]
    async with Generation(context.engine, requests) as generation:
        async for index, delta in generation:
            one = wanted[index][0]
            one.num_cached_tokens = max(one.num_cached_tokens, delta.num_cached_tokens)
            for entry in delta.logprobs or ():
                found = {**dict(entry.top), entry.token_id: entry.logprob}
                one.logprobs |= {token_id: found[token_id] for token_id in one.token_ids if token_id in found}


def _params(token_id: int | None) -> SamplingParams:
    if token_id is None:
        return SamplingParams(max_tokens=1, temperature=0.0, logprobs=_MAX_TOP)
    return SamplingParams(max_tokens=1, temperature=0.0, logprobs=0, allowed_token_ids=(token_id,))


def _answer(question: Predicate | ChoiceQuestion | ScoreQuestion, probabilities: Sequence[float]) -> dict[str, Any]:
    if isinstance(question, Predicate):
        return {"type": "predicate", "name": question.name, "probability": probabilities[0]}
    confidence = _confidence(probabilities)
    if isinstance(question, ChoiceQuestion):
        values = [option.value for option in question.choices]
        shares = [{"value": value, "probability": share} for value, share in zip(values, probabilities, strict=True)]
        best = values[probabilities.index(max(probabilities))]
        return {"type": "choice", "name": question.name, "choice": best, "probabilities": shares, "confidence": confidence}
    levels = [
        {"value": value, "label": level.label, "probability": share}
        for value, (level, share) in enumerate(zip(question.levels, probabilities, strict=True))
    ]
    score = sum(value * share for value, share in enumerate(probabilities))
    return {"type": "score", "name": question.name, "score": score, "probabilities": levels, "confidence": confidence}


def _confidence(probabilities: Sequence[float]) -> float:
    """Return 1 for a certain answer, 0 for equal ones: 1 - entropy / log of their number."""
    entropy = -sum(share * math.log(share) for share in probabilities if share > 0)
    return max(0.0, 1.0 - entropy / math.log(len(probabilities)))


def _usage(asked: Sequence[_Asked]) -> dict[str, Any]:
    input_tokens = sum(len(one.prompt.token_ids) for one in asked)
    cached = sum(one.num_cached_tokens for one in asked)
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens,
    }


ROUTES = [web.post("/v1/decisions", _decisions)]
