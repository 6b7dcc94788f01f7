"""GET /v1/stream."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import aiohttp
import pytest

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, endless_script

HI = [{"role": "user", "content": "hi"}]


async def until_done(socket: aiohttp.ClientWebSocketResponse, num_streams: int) -> dict[object, list[dict]]:
    """Return the messages of each id until `num_streams` are done."""
    messages = defaultdict(list)
    while num_streams:
        message = await socket.receive_json(timeout=5)
        messages[message["id"]].append(message)
        num_streams -= message["type"] == "done"
    return messages


async def test_several_streams_share_a_socket(server: Server) -> None:
    async with server.http.ws_connect("/v1/stream") as socket:
        await socket.send_json({"id": "chat", "messages": HI})
        await socket.send_json({"id": 7, "prompt": "hi", "n": 2, "stream_options": {"include_usage": True}, "stream": True})
        messages = await until_done(socket, 2)
    chat = [message["data"]["choices"][0]["delta"] for message in messages["chat"][:-1]]
    assert chat == [{"role": "assistant", "content": ""}, {"content": "Hello, "}, {"content": "wörld!"}, {}]
    assert messages["chat"][-1] == {"type": "done", "id": "chat", "aborted": False}
    assert messages[7][-2]["data"]["usage"]["completion_tokens"] == 28
    assert {message["data"]["object"] for message in messages[7][:-1]} == {"text_completion"}


async def test_an_id_is_free_again_after_done(server: Server) -> None:
    async with server.http.ws_connect("/v1/stream") as socket:
        for _ in range(3):
            await socket.send_json({"id": "a", "prompt": "hi"})
            await until_done(socket, 1)
    assert len(server.engine.requests) == 3


async def test_abort_ends_one_stream_and_leaves_the_others(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01)))
    async with server.http.ws_connect("/v1/stream") as socket:
        await socket.send_json({"id": "a", "prompt": "hi"})
        await socket.send_json({"id": "b", "prompt": "hi"})
        await socket.receive_json()
        await socket.send_json({"type": "abort", "id": "a"})
        messages = await until_done(socket, 1)
        assert messages["a"][-1] == {"type": "done", "id": "a", "aborted": True}
        assert server.engine.num_live == 1
        assert (await socket.receive_json())["id"] == "b"
        await socket.send_json({"type": "abort", "id": "nobody"})


async def test_closing_the_socket_aborts_its_streams(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01)))
    for vanish in (False, True):
        async with server.http.ws_connect("/v1/stream") as socket:
            for name in "abc":
                await socket.send_json({"id": name, "prompt": "hi"})
            await socket.receive_json()
            if vanish:
                socket._response.connection.transport.abort()
        for _ in range(100):
            if not server.engine.num_live:
                break
            await asyncio.sleep(0.02)
        assert server.engine.num_live == 0


@pytest.mark.parametrize(
    ("message", "stream_id", "param"),
    [
        ("{", None, None),
        ('{"prompt": "a"}', None, "id"),
        ('{"id": true, "prompt": "a"}', None, "id"),
        ('{"id": "x", "prompt": "a", "n": 0}', "x", "n"),
        ('{"id": "x", "messages": [{"role": "", "content": "a"}]}', "x", "messages[0].role"),
        ('{"id": "x"}', "x", "prompt"),
        ('{"id": "x", "prompt": "a", "model": "gpt-17"}', "x", "model"),
    ],
)
async def test_bad_messages_are_answered_on_their_id(server: Server, message: str, stream_id: str | None, param: str | None) -> None:
    async with server.http.ws_connect("/v1/stream") as socket:
        await socket.send_str(message)
        answer = await socket.receive_json(timeout=5)
        assert (answer["type"], answer["id"], answer["error"]["param"]) == ("error", stream_id, param)
        if stream_id is not None:
            assert (await socket.receive_json(timeout=5))["type"] == "done"
        await socket.send_json({"id": "next", "prompt": "hi"})
        await until_done(socket, 1)


async def test_an_id_in_use_is_refused(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01)))
    async with server.http.ws_connect("/v1/stream") as socket:
        await socket.send_json({"id": "a", "prompt": "hi"})
        await socket.send_json({"id": "a", "prompt": "hi"})
        while (message := await socket.receive_json(timeout=5))["type"] != "error":
            pass
        assert "in use" in message["error"]["message"]
    assert len(server.engine.requests) == 1


async def test_a_foreign_page_may_not_connect(server: Server) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await server.http.ws_connect("/v1/stream", origin="https://elsewhere.example")
    assert refused.value.status == 403
    async with server.http.ws_connect("/v1/stream", origin=server.url):
        pass


async def test_an_abort_right_behind_its_request_gets_done(start_server: StartServer) -> None:
    """Both arrive in one read, so that the request's task has not taken its first step."""
    server = await start_server(ScriptedEngine(script=endless_script(0.01)))
    async with server.http.ws_connect("/v1/stream") as socket:
        for index in range(20):
            await socket.send_json({"id": index, "prompt": "hi"})
            await socket.send_json({"type": "abort", "id": index})
        messages = await until_done(socket, 20)
    assert [messages[index][-1] for index in range(20)] == [{"type": "done", "id": index, "aborted": True} for index in range(20)]
    assert server.engine.num_live == 0


async def test_an_abort_of_a_bad_request_keeps_its_error_and_done(server: Server) -> None:
    async with server.http.ws_connect("/v1/stream") as socket:
        await socket.send_json({"id": "a", "prompt": "hi", "n": 0})
        await socket.send_json({"type": "abort", "id": "a"})
        messages = await until_done(socket, 1)
    assert [message["type"] for message in messages["a"]] == ["error", "done"]
