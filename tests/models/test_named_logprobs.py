"""`logprob_token_ids` and `best_of` over a real model: what they say agrees with `logprobs`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from octavo import LLM, SamplingParams
from octavo.assemble import build_engine
from octavo.config import EngineConfig, PlacementConfig, ServerConfig
from octavo.server.app import build_app

WANTED = [42, 7, 7000]


@pytest.fixture
async def client(smollm2) -> AsyncIterator[TestClient]:
    engine = build_engine(EngineConfig(str(smollm2), max_model_len=256, placement=PlacementConfig(device="cpu", threads=2)))
    await engine.start()
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client:
        yield client
    await engine.close()


async def complete(client: TestClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/completions", json={"prompt": "The sky is", "max_tokens": 4, **fields})
    document = await response.json()
    assert response.status == 200, document
    return document


async def test_named_tokens_are_reported_beside_the_drawn_one(client: TestClient) -> None:
    body = {"temperature": 0, "return_tokens_as_token_ids": True}
    found = (await complete(client, logprobs=5, **body))["choices"][0]["logprobs"]
    best = [int(name.removeprefix("token_id:")) for name in found["top_logprobs"][0]]
    named = (await complete(client, logprobs=0, logprob_token_ids=[*best, *WANTED], **body))["choices"][0]["logprobs"]
    assert named["tokens"] == found["tokens"]
    assert {name: named["top_logprobs"][0][name] for name in found["top_logprobs"][0]} == pytest.approx(found["top_logprobs"][0], abs=1e-4)
    for position in named["top_logprobs"]:
        assert {f"token_id:{token_id}" for token_id in WANTED} <= position.keys()
        assert max(position.values()) <= 0


async def test_named_tokens_in_a_chat_and_beside_others(client: TestClient) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "temperature": 0, "logprobs": True}
    response = await client.post("/v1/chat/completions", json={**body, "top_logprobs": 1, "logprob_token_ids": WANTED})
    entries = (await response.json())["choices"][0]["logprobs"]["content"]
    assert [len(entry["top_logprobs"]) for entry in entries] == [4, 4, 4]
    response = await client.post("/v1/chat/completions", json={**body, "logprob_token_ids": [10**6]})
    assert (response.status, (await response.json())["error"]["param"]) == (400, "logprob_token_ids")


def mean(choice: dict[str, Any]) -> float:
    logprobs = choice["logprobs"]["token_logprobs"]
    return sum(logprobs) / len(logprobs)


async def test_best_of_shows_the_most_probable_of_what_was_drawn(client: TestClient) -> None:
    body = {"seed": 3, "temperature": 1.5, "logprobs": 0, "max_tokens": 8}
    drawn = (await complete(client, n=6, **body))["choices"]
    means = sorted(
        (sum(choice["logprobs"]["token_logprobs"]) / len(choice["logprobs"]["token_logprobs"]) for choice in drawn), reverse=True
    )
    best = await complete(client, n=2, best_of=6, **body)
    assert [mean(choice) for choice in best["choices"]] == pytest.approx(means[:2], abs=1e-3)
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert best["usage"]["completion_tokens"] == sum(len(choice["logprobs"]["tokens"]) for choice in drawn)
    plain = await complete(client, n=1, best_of=4, prompt=["The sky is", "Two and two"], seed=3, max_tokens=8)
    assert [choice["logprobs"] for choice in plain["choices"]] == [None, None]


def test_named_tokens_offline(smollm2) -> None:
    with LLM(str(smollm2), max_model_len=128, device="cpu") as llm:
        output = llm.generate(["The sky is"], SamplingParams(max_tokens=2, temperature=0, logprob_token_ids=WANTED))[0].outputs[0]
    assert set(WANTED) <= output.logprobs[0].keys()
    assert output.logprobs[0][WANTED[2]].logprob < 0
