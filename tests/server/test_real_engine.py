"""The server over the real engine (its runner is a fake): what the two expect of each other holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from fakes.running_server import Server, StartServer

pytest.importorskip("octavo._runtime", exc_type=ImportError)


@pytest.fixture
async def server(start_server: StartServer) -> AsyncIterator[Server]:
    from fakes.fake_engine import fake_engine

    engine = fake_engine()
    await engine.start()
    yield await start_server(engine)
    await engine.close()


async def test_streamed_and_whole_answers_agree(server: Server) -> None:
    body = {"prompt": ["one", "two"], "n": 2, "max_tokens": 12, "temperature": 0, "return_token_ids": True}
    status, whole = await server.post("/v1/completions", body)
    assert status == 200, whole
    streamed: dict[int, list[int]] = {index: [] for index in range(4)}
    for event in (await server.events("/v1/completions", body))[:-1]:
        for choice in json.loads(event)["choices"]:
            streamed[choice["index"]] += choice["token_ids"]
    assert [choice["token_ids"] for choice in whole["choices"]] == list(streamed.values())
    assert all(len(token_ids) == 12 for token_ids in streamed.values())
    assert whole["usage"]["completion_tokens"] == 48


async def test_a_beam_search_gives_its_best_texts_at_the_end(server: Server) -> None:
    body = {"prompt": "one", "use_beam_search": True, "best_of": 4, "n": 2, "max_tokens": 6, "return_token_ids": True}
    status, whole = await server.post("/v1/completions", body)
    assert status == 200, whole
    assert [len(choice["token_ids"]) for choice in whole["choices"]] == [6, 6]
    assert whole["choices"][0]["token_ids"] != whole["choices"][1]["token_ids"]
    events = [json.loads(event) for event in (await server.events("/v1/completions", body))[:-1]]
    streamed = [choice for event in events for choice in event["choices"] if choice["token_ids"]]
    assert [choice["token_ids"] for choice in streamed] == [choice["token_ids"] for choice in whole["choices"]]
    assert whole["usage"]["completion_tokens"] == 12
    assert server.engine.stats().kv_usage == 0
    error = await server.error("/v1/completions", {**body, "best_of": 20, "max_tokens": 100})
    assert error["param"] == "beam_width"


async def test_what_only_the_engine_can_know_is_a_400(server: Server) -> None:
    assert (await server.error("/v1/completions", {"prompt": [100_000]}))["param"] == "prompt"
    assert (await server.error("/v1/completions", {"prompt": "x" * 300}))["param"] == "prompt"
    assert (await server.error("/v1/completions", {"prompt": "x", "max_tokens": 250}))["param"] == "max_tokens"


async def test_a_client_that_leaves_gives_its_blocks_back(server: Server) -> None:
    async with server.http.post("/v1/completions", json={"prompt": "a", "n": 4, "max_tokens": 190, "stream": True}) as response:
        await response.content.readany()
        response.close()
    for _ in range(200):
        if not server.engine.stats().num_running:
            break
        await asyncio.sleep(0.01)
    stats = server.engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.kv_usage) == (0, 0, 0)


async def test_metrics_count_real_requests(server: Server) -> None:
    await server.post("/v1/completions", {"prompt": "abc", "max_tokens": 5})
    async with server.http.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    assert {
        "octavo_generation_tokens_total 5.0",
        'octavo_finished_total{finish_reason="length"} 1.0',
        "octavo_time_to_first_token_seconds_count 1.0",
        "octavo_inter_token_latency_seconds_count 4.0",
        "octavo_e2e_request_latency_seconds_count 1.0",
    } <= set(lines)
