"""Event streams, against golden transcripts (ids and times masked). `OCTAVO_UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, deltas_script, words_script
from octavo.errors import EngineDeadError
from octavo.types import Delta, FinishReason

GOLDEN = Path(__file__).parent / "golden"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
USAGE = {"stream_options": {"include_usage": True}}

CASES = {
    "completion": (COMPLETIONS, {"prompt": "hi"}),
    "completion_usage": (COMPLETIONS, {"prompt": "hi", **USAGE}),
    "completion_continuous_usage": (
        COMPLETIONS,
        {"prompt": "hi", "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    ),
    "completion_echo_logprobs_n2": (COMPLETIONS, {"prompt": "hi", "echo": True, "logprobs": 1, "n": 2, "max_tokens": 6}),
    "completion_token_ids": (COMPLETIONS, {"prompt": [104, 105], "return_token_ids": True, "prompt_logprobs": 0}),
    "completion_score_only": (COMPLETIONS, {"prompt": "hi", "echo": True, "logprobs": 0, "max_tokens": 0, **USAGE}),
    "chat": (CHAT, {"messages": HI}),
    "chat_n2_usage": (CHAT, {"messages": HI, "n": 2, **USAGE}),
    "chat_continuous_usage": (CHAT, {"messages": HI, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
    "chat_logprobs": (CHAT, {"messages": HI, "logprobs": True, "top_logprobs": 2, "max_tokens": 2}),
    "chat_token_ids": (CHAT, {"messages": HI, "return_token_ids": True, "prompt_logprobs": 0, "max_tokens": 3}),
}


@pytest.mark.parametrize("name", CASES)
async def test_golden_transcript(server: Server, name: str) -> None:
    path, body = CASES[name]
    async with server.http.post(path, json={**body, "stream": True}) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        transcript = masked((await response.read()).decode())
    golden = GOLDEN / f"{name}.sse"
    if os.environ.get("OCTAVO_UPDATE_GOLDEN"):
        golden.write_text(transcript)
    assert transcript == golden.read_text()


def masked(transcript: str) -> str:
    transcript = re.sub(r'"id":"(chatcmpl|cmpl)-[0-9a-f]{32}"', r'"id":"\1-ID"', transcript)
    return re.sub(r'"created":\d+', '"created":0', transcript)


async def test_each_choice_keeps_its_order_and_its_end(server: Server) -> None:
    events = await server.events(COMPLETIONS, {"prompt": ["a", "b", "c"], "n": 2})
    assert events[-1] == "[DONE]"
    texts, ends = dict.fromkeys(range(6), ""), []
    for event in events[:-1]:
        [choice] = json.loads(event)["choices"]
        assert choice["index"] not in ends
        texts[choice["index"]] += choice["text"]
        if choice["finish_reason"]:
            ends.append(choice["index"])
    assert set(texts.values()) == {"Hello, wörld!"}
    assert sorted(ends) == [0, 1, 2, 3, 4, 5]


async def test_an_error_on_the_way_is_an_event_before_done(start_server: StartServer) -> None:
    script = deltas_script(Delta(0, "a", [97]), Delta(0, finish_reason=FinishReason.ERROR, error="the logits are not finite"))
    server = await start_server(ScriptedEngine(script=script))
    events = await server.events(CHAT, {"messages": HI})
    assert json.loads(events[1])["choices"][0]["delta"] == {"content": "a"}
    assert json.loads(events[-2])["error"] == {
        "message": "the logits are not finite",
        "type": "server_error",
        "param": None,
        "code": "generation_failed",
    }
    assert events[-1] == "[DONE]"


async def test_an_engine_that_dies_ends_the_stream_with_an_error(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await start_server()

    async def dies(stream: object) -> Delta:
        raise EngineDeadError("the runner broke")

    monkeypatch.setattr("octavo.engine.request_stream.RequestStream.__anext__", dies)
    for prompt in ("a", ["a", "b"]):
        *_, error, done = await server.events(COMPLETIONS, {"prompt": prompt})
        assert json.loads(error)["error"]["code"] == "engine_dead"
        assert done == "[DONE]"


async def test_held_back_text_makes_no_empty_chunks(start_server: StartServer) -> None:
    deltas = Delta(0, "", [0xC3]), Delta(0, "é", [0xA9]), Delta(0, "", [], finish_reason=FinishReason.LENGTH)
    server = await start_server(ScriptedEngine(script=deltas_script(*deltas)))
    events = await server.events(CHAT, {"messages": HI})
    assert [json.loads(event)["choices"][0]["delta"] for event in events[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "é"},
        {},
    ]


async def test_events_leave_one_by_one_without_delay(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is its own read on the wire, in time with the engine, and Nagle's algorithm is off."""
    from octavo.server.edge import sse

    seen = []
    guard = sse.stall_guard

    def spy(transport, stall_s):
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return guard(transport, stall_s)

    monkeypatch.setattr(sse, "stall_guard", spy)
    monkeypatch.setattr(sse, "SURE_TO_FIT", 0)  # every write is guarded
    server = await start_server(ScriptedEngine(script=words_script("a b c d", interval_s=0.02)))
    async with server.http.post(COMPLETIONS, json={"prompt": "a", "stream": True}) as response:
        chunks = [chunk async for chunk, end in response.content.iter_chunks() if end]
    assert [chunk.count(b"data: ") for chunk in chunks] == [1] * 6
    assert seen and all(seen)
