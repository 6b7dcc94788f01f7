"""The Responses API over a real engine: broken streams go on whole, and a conversation on a socket computes only what is new."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import ClientWebSocketResponse
from aiohttp.test_utils import TestClient, TestServer
from make_tiny_checkpoint import make_tiny_checkpoint

from fakes.agent_server import ANSWER, dictate
from octavo.assemble import build_engine
from octavo.config import EngineConfig, ServerConfig
from octavo.server.app import build_app
from octavo.text.chat_template import ChatTemplate

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
NUM_TURNS = 20
BLOCK = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint("llama", tmp_path_factory.mktemp("responses"), max_position_embeddings=8192)


@pytest.fixture
async def client(folder: Path) -> AsyncIterator[TestClient]:
    engine = build_engine(EngineConfig.of(model=str(folder), max_num_seqs=8, kv_cache_bytes=16 << 20, log_stats_s=0, threads=1))
    engine.tokenizer.chat_template = ChatTemplate({"default": TEMPLATE}, {})
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client:
        client.engine = engine
        await engine.start()
        yield client
        await engine.close()


async def events_of(response, most: int | None = None) -> list[dict]:
    events: list[dict] = []
    async for line in response.content:
        if line.startswith(b"data: "):
            events.append(json.loads(line[6:]))
            if len(events) == most:
                break
    return events


async def idle(engine) -> None:
    for _ in range(500):
        stats = engine.stats()
        if (stats.num_running, stats.num_waiting, stats.kv_usage) == (0, 0, 0):
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"something is left: {engine.stats()}")


async def test_a_stream_that_is_cut_anywhere_goes_on_whole(client: TestClient) -> None:
    body = {"input": "hi", "stream": True, "temperature": 1.0, "seed": 3, "ignore_eos": True, "max_output_tokens": 40}
    async with client.post("/v1/responses", json=body) as response:
        whole = await events_of(response)
    text = whole[-1]["response"]["output"][0]["content"][0]["text"]
    assert len(text) > 20
    for cut in range(1, len(whole), 3):
        async with client.post("/v1/responses", json=body) as response:
            first = await events_of(response, cut)
            response.close()
        name = first[0]["response"]["id"]
        async with client.get(f"/v1/responses/{name}?stream=true&starting_after={first[-1]['sequence_number']}") as response:
            assert response.status == 200, await response.text()
            rest = await events_of(response)
        both = first + rest
        assert [event["sequence_number"] for event in both] == list(range(len(both)))
        assert "".join(event["delta"] for event in both if event["type"] == "response.output_text.delta") == text
        assert both[-1]["response"]["output"][0]["content"][0]["text"] == text
    await idle(client.engine)


async def test_a_conversation_on_a_socket_computes_no_history_again(client: TestClient) -> None:
    dictate(client.engine)
    async with client.ws_connect("/v1/responses") as socket:
        usage, previous = [], None
        for turn in range(NUM_TURNS):
            usage.append(await answered(socket, f"Question {turn}. " + "word " * 40, previous))
            previous = usage[-1].pop("id")
    for earlier, later in pairwise(usage):
        history = earlier["input_tokens"] + earlier["output_tokens"]
        assert later["input_tokens_details"]["cached_tokens"] >= history - BLOCK
        assert later["input_tokens"] > history
    await idle(client.engine)


async def answered(socket: ClientWebSocketResponse, question: str, previous: str | None) -> dict:
    await socket.send_json({"type": "response.create", "input": question, "store": False, "previous_response_id": previous})
    while (event := await socket.receive_json(timeout=20))["type"] != "response.completed":
        assert event["type"] != "error", event
    response = event["response"]
    assert response["output"][0]["content"][0]["text"] == ANSWER
    return {"id": response["id"], **response["usage"]}


async def test_sockets_and_streams_whose_clients_vanish_leave_nothing(client: TestClient) -> None:
    body = {"input": "hi", "ignore_eos": True, "max_output_tokens": 3000, "store": False}
    for _ in range(3):
        socket = await client.ws_connect("/v1/responses")
        await socket.send_json({"type": "response.create", **body})
        await socket.receive_json(timeout=5)
        socket._response.close()
        async with client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a"}], "stream": True}) as response:
            await response.content.readany()
            response.close()
    await idle(client.engine)
