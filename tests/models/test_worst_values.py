"""The worst values that a request may carry, through a real engine: each is refused with its field's name or served; nobody else notices.

The values are made from the types of `SamplingParams` and of the HTTP bodies, so that a new field is tried from the day it exists.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import math
import random
import typing
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from make_tiny_checkpoint import VOCAB_SIZE, make_tiny_checkpoint

from fakes.tiny_encoder import write_encoder
from octavo.assemble import build_engine
from octavo.config import EngineConfig, ServerConfig
from octavo.engine import AsyncEngine
from octavo.errors import InvalidRequestError
from octavo.server.app import build_app
from octavo.server.openai.protocol import ChatBody, CompletionBody
from octavo.server.pooling.protocol import ClassifyBody, EmbeddingBody, PoolingBody, RerankBody, ScoreBody
from octavo.types import FinishReason, GenerationRequest, SamplingParams

NUM_PAIRS = 300
SMALL_VOCAB_SIZE = 50  # the tokenizer knows 259 tokens, its end of sequence is number 257
INTEGERS = (-(2**63), -(2**31), -1, 0, 1, 2, 63, 64, 128, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
HUGE = (2**64, 10**30, -(10**400))  # JSON's reader takes them for floats, Python does not
TINY, ABOUT_ONE = (5e-324, 1e-46, 1e-45, 1e-38, 1e-6), (1 - 2**-53, 1.0, 1 + 2**-52)
FLOATS = (-1e300, -100.0, -2.0, -1e-46, -0.0, 0.0, *TINY, 0.5, *ABOUT_ONE, 2.0, 100.0, 3.5e38, 1e300)
NOT_FINITE = (math.inf, -math.inf, math.nan)
TOKEN_IDS = (-1, 0, 1, SMALL_VOCAB_SIZE - 1, SMALL_VOCAB_SIZE, VOCAB_SIZE - 1, VOCAB_SIZE, 2**31, 2**63)
TEXTS = ("", "a", "\x00", "\U0001f600", "a" * 2000, "<|eos|>", " ")


def worst_values(kind: Any, *, json_only: bool = False) -> list[Any]:
    """The values to try for a field of this type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is bool:
        return [False, True]
    if kind is int:
        return [*INTEGERS, *(() if json_only else HUGE), 1.5]
    if kind is float:
        return [*FLOATS, *(() if json_only else (*NOT_FINITE, *HUGE))]
    if kind is str:
        return list(TEXTS)
    if origin in (tuple, list) and arguments[0] is int:
        return [origin(), *(origin([token_id]) for token_id in TOKEN_IDS), origin(TOKEN_IDS[1:4]), origin([1.5]), origin(range(20)) * 300]
    if origin in (tuple, list) and arguments[0] is str:
        return [origin(), *(origin([text]) for text in TEXTS), origin(TEXTS[1:]), origin(["a"]) * 16, origin(["ab"]) * 17]
    if origin is dict:
        keys = TOKEN_IDS if arguments[0] is int else [*map(str, TOKEN_IDS), "", "\u0661", "x"]
        return [{}, *({key: value} for key, value in itertools.product(keys, (-100.0, 0.0, 100.0, 1e-46, 101.0)))]
    if type(None) in arguments or origin is typing.Annotated:
        return [value for argument in arguments for value in worst_values(argument, json_only=json_only)]
    if kind is type(None):
        return [None]
    return []  # a nested body or anything at all


def changes(fields: dict[str, Any], **options: bool) -> Iterator[dict[str, Any]]:
    """One field at its worst, then pairs of fields: what one value hides another may show."""
    singles = {name: worst_values(kind, **options) for name, kind in fields.items()}
    yield from ({name: value} for name, values in singles.items() for value in values)
    chance = random.Random(1)
    names = [name for name, values in singles.items() if values]
    for _ in range(NUM_PAIRS):
        yield {name: chance.choice(singles[name]) for name in chance.sample(names, chance.choice((2, 3, 4)))}


@pytest.fixture(scope="module", params=[VOCAB_SIZE, SMALL_VOCAB_SIZE], ids=["whole", "small"])
def checkpoint(request, tmp_path_factory) -> Path:
    """A random Llama; the small one has fewer tokens than its tokenizer, and fewer than log-probabilities may be asked for."""
    small = {"vocab_size": request.param, "pad_token_id": None} if request.param == SMALL_VOCAB_SIZE else {}
    return make_tiny_checkpoint("llama", tmp_path_factory.mktemp("llama"), seed=5, **small)


def tiny_engine(checkpoint: Path) -> AsyncEngine:
    return build_engine(EngineConfig.of(model=str(checkpoint), kv_cache_bytes=4 << 20, threads=1, max_model_len=128, log_stats_s=0))


async def test_every_sampling_parameter_at_its_worst(checkpoint):
    engine = tiny_engine(checkpoint)
    await engine.start()
    wanted = await answer(engine, SamplingParams(temperature=0.0, max_tokens=4, ignore_eos=True))
    kinds = typing.get_type_hints(SamplingParams)
    served = 0
    try:
        for change in changes({field.name: kinds[field.name] for field in dataclasses.fields(SamplingParams)}):
            served += await is_served(engine, change)
        assert await answer(engine, SamplingParams(temperature=0.0, max_tokens=4, ignore_eos=True)) == wanted
        assert served > 100
        assert engine.stats().num_running == engine.stats().num_waiting == engine.stats().kv_usage == 0
    finally:
        await engine.close()


async def is_served(engine: AsyncEngine, change: dict[str, Any]) -> bool:
    """Whether the change was served rather than refused; anything but these two fails the test."""
    try:
        deltas = await answer(engine, SamplingParams(**{"max_tokens": 3, "n": 1, **change}))
    except InvalidRequestError as refusal:
        assert refusal.param in change, f"{change} is refused for {refusal.param}: {refusal}"
        return False
    finally:
        assert engine.dead is None, f"{change} ended the engine: {engine.dead}"
    errors = [delta.error for delta in deltas if delta.finish_reason is FinishReason.ERROR]
    assert not errors, f"{change} ended in {errors}"
    return True


async def answer(engine: AsyncEngine, params: SamplingParams) -> list[Any]:
    async with await engine.submit(GenerationRequest("r", [1, 2, 3], params)) as stream:
        return [delta async for delta in stream]


@pytest.mark.parametrize("checkpoint", [VOCAB_SIZE], indirect=True)
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"top_k": 2**31}, "top_k"),
        ({"top_p": 1e-46}, "top_p"),
        ({"repetition_penalty": 1e-46}, "repetition_penalty"),
        ({"allowed_token_ids": (VOCAB_SIZE,)}, "allowed_token_ids"),
        ({"logit_bias": {VOCAB_SIZE: 1.0}}, "logit_bias"),
        ({"stop_token_ids": (VOCAB_SIZE,)}, "stop_token_ids"),
        ({"allowed_token_ids": (2,), "stop_token_ids": (2,), "min_tokens": 2}, "allowed_token_ids"),
        ({"allowed_token_ids": (0, 1), "bad_words": ("!", '"')}, "allowed_token_ids"),
    ],
)
async def test_refusals_name_their_field(checkpoint, change, param):
    engine = tiny_engine(checkpoint)
    with pytest.raises(InvalidRequestError) as refusal:
        await answer(engine, SamplingParams(**change))
    assert refusal.value.param == param
    await engine.close()


async def test_a_word_beyond_the_vocabulary_is_refused_and_an_end_beyond_it_blocks_nothing(tmp_path):
    engine = tiny_engine(make_tiny_checkpoint("llama", tmp_path, vocab_size=SMALL_VOCAB_SIZE, pad_token_id=None))
    await engine.start()
    try:
        with pytest.raises(InvalidRequestError, match="bad_words has the token id"):
            await answer(engine, SamplingParams(bad_words=("z",)))
        assert await is_served(engine, {"min_tokens": 2})
    finally:
        await engine.close()


@pytest.fixture
async def engine(checkpoint) -> AsyncIterator[AsyncEngine]:
    engine = tiny_engine(checkpoint)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
async def client(engine) -> AsyncIterator[TestClient]:
    """A client of a server over the tiny model."""
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client:
        yield client


@pytest.mark.parametrize("checkpoint", [VOCAB_SIZE], indirect=True)  # the small one has no token for a chat
@pytest.mark.parametrize(
    ("path", "body_type", "needed"),
    [
        ("/v1/completions", CompletionBody, {"prompt": [1, 2, 3]}),
        ("/v1/chat/completions", ChatBody, {"messages": [{"role": "user", "content": "hi"}]}),
    ],
)
async def test_every_field_of_a_body_at_its_worst(
    client: TestClient, engine: AsyncEngine, path: str, body_type: Any, needed: dict[str, Any]
):
    kinds = {name: field.rebuild_annotation() for name, field in body_type.model_fields.items() if name not in needed}
    served = 0
    for change in changes(kinds, json_only=True):
        body = {"max_tokens": 3, **needed, **change}
        async with client.post(path, data=json.dumps(body), headers={"Content-Type": "application/json"}) as response:
            text = await response.text()
        assert response.status == 200 or 400 <= response.status < 500, f"{change}: {response.status} {text}"
        assert engine.dead is None, f"{change} ended the engine: {engine.dead}"
        served += response.status == 200
    assert served > 100


@pytest.mark.parametrize(
    ("path", "body_type", "head", "needed"),
    [
        ("/v1/embeddings", EmbeddingBody, "BertModel", {"input": "ab"}),
        ("/pooling", PoolingBody, "BertModel", {"input": ["ab", "c"]}),
        ("/classify", ClassifyBody, "BertForSequenceClassification", {"input": "ab"}),
        ("/score", ScoreBody, "BertForSequenceClassification", {"text_1": "ab", "text_2": "c"}),
        ("/rerank", RerankBody, "BertModel", {"query": "ab", "documents": ["c", "d"]}),
    ],
)
async def test_every_field_of_a_body_for_vectors_at_its_worst(tmp_path, path: str, body_type: Any, head: str, needed: dict[str, Any]):
    folder = write_encoder(tmp_path, head, num_labels=1)
    engine = build_engine(EngineConfig.of(model=str(folder), load_format="dummy", threads=1, log_stats_s=0))
    await engine.start()
    kinds = {name: field.rebuild_annotation() for name, field in body_type.model_fields.items() if name not in needed}
    inputs = [{name: value} for name in needed for value in (*TEXTS, list(TEXTS), [[token_id] for token_id in TOKEN_IDS], [2**70], 1.5, {})]
    served = 0
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client:
        for change in itertools.chain(changes(kinds, json_only=True), inputs):
            async with client.post(path, data=json.dumps(needed | change), headers={"Content-Type": "application/json"}) as response:
                text = await response.text()
            assert response.status == 200 or 400 <= response.status < 500, f"{change}: {response.status} {text}"
            assert engine.dead is None, f"{change} ended the engine: {engine.dead}"
            served += response.status == 200
    assert served > 10
    assert engine.stats().num_running == engine.stats().num_waiting == 0
    await engine.close()


async def test_a_socket_is_refused_what_http_is_refused(client: TestClient, engine: AsyncEngine):
    async with client.ws_connect("/v1/stream") as socket:
        for change in ({"top_k": 2**31}, {"top_p": 1e-46}, {"repetition_penalty": 1e-46}):
            await socket.send_json({"id": 1, "prompt": [1], **change})
            message = await asyncio.wait_for(socket.receive_json(), 20)
            assert (message["type"], message["error"]["param"]) == ("error", next(iter(change)))
            assert (await socket.receive_json())["type"] == "done"
    assert engine.dead is None
