"""The Responses API over a WebSocket."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from openai import AsyncOpenAI

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, endless_script, words_script

TOOL = {"type": "function", "name": "f"}
CALL = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
Socket = aiohttp.ClientWebSocketResponse


async def create(socket: Socket, **fields: object) -> None:
    await socket.send_json({"type": "response.create", "input": "hi"} | fields)


async def until(socket: Socket, *kinds: str) -> list[dict]:
    """Return the events up to one of these kinds."""
    events: list[dict] = []
    while not events or events[-1]["type"] not in kinds:
        events.append(await socket.receive_json(timeout=5))
    return events


def prompt_of(server: Server) -> str:
    return server.engine.tokenizer.decode(server.engine.requests[-1].prompt_token_ids)


async def test_turns_go_on_without_a_store(server: Server) -> None:
    async with server.http.ws_connect("/v1/responses") as socket:
        await create(socket, store=False)
        first = await until(socket, "response.completed")
        assert [event["sequence_number"] for event in first] == list(range(len(first)))
        assert "stream_id" not in first[0]
        await create(socket, store=False, input="more", previous_response_id=first[-1]["response"]["id"])
        await until(socket, "response.completed")
        assert prompt_of(server) == "<user>hi\n<assistant>Hello, wörld!\n<user>more\n<assistant>"
        await create(socket, previous_response_id="resp_x", stream_id="a")
        [error] = await until(socket, "error")
        assert (error["error"]["code"], error["status"], error["stream_id"]) == ("previous_response_not_found", 400, "a")


async def test_a_lane_is_in_order_and_lanes_run_together(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=words_script("a b c d", 0.01)))
    async with server.http.ws_connect("/v1/responses") as socket:
        for lane in ("x", "x", "y"):
            await create(socket, stream_id=lane)
        events: list[dict] = []
        for _ in range(3):
            events += await until(socket, "response.completed")
    kinds = [(event["stream_id"], event["type"]) for event in events]
    lane_x = [kind for lane, kind in kinds if lane == "x"]
    assert lane_x.index("response.completed") < len(lane_x) - 1 - lane_x[::-1].index("response.created")
    assert kinds.index(("y", "response.created")) < kinds.index(("x", "response.completed"))


async def test_steering_ends_a_response_and_goes_on(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01, "x")))
    async with server.http.ws_connect("/v1/responses") as socket:
        await create(socket, stream_id="a")
        first = await until(socket, "response.output_text.delta")
        response_id = first[0]["response"]["id"]
        await socket.send_json({"type": "response.steer", "previous_response_id": response_id, "input": "shorter"})
        rest = await until(socket, "response.incomplete")
        assert "response.steer.accepted" in [event["type"] for event in rest]
        assert [event["sequence_number"] for event in first + rest] == list(range(len(first + rest)))
        assert rest[-1]["response"]["incomplete_details"] == {"reason": "steered"}
        successor = await until(socket, "response.output_text.delta")
        assert successor[0]["response"]["previous_response_id"] == response_id
        assert successor[0]["stream_id"] == "a"
        assert prompt_of(server).endswith("x\n<user>shorter\n<assistant>")
        await socket.send_json({"type": "response.steer", "previous_response_id": response_id, "input": "more"})
        failed = (await until(socket, "response.steer.failed"))[-1]
        assert failed["error"]["code"] == "response_already_completed"


async def test_a_steer_waits_for_a_tool(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=words_script(CALL + " " * 20, 0.01), max_model_len=4096))
    async with server.http.ws_connect("/v1/responses") as socket:
        await create(socket, tools=[TOOL])
        first = await until(socket, "response.output_item.added")
        response_id = first[0]["response"]["id"]
        await socket.send_json({"type": "response.steer", "previous_response_id": response_id, "input": "and quick"})
        pending = (await until(socket, "response.steer.pending"))[-1]
        [stub] = pending["required_input"]
        assert (stub["type"], stub["name"]) == ("function_call_output", "f")
        await create(socket, input=[stub | {"output": "42"}], previous_response_id=response_id)
        await until(socket, "response.completed")
        assert "<user>and quick" in prompt_of(server)
        assert "42" in prompt_of(server)


async def test_a_warm_up_generates_nothing(server: Server) -> None:
    async with server.http.ws_connect("/v1/responses") as socket:
        await create(socket, generate=False)
        events = await until(socket, "response.completed")
        response = events[-1]["response"]
        assert (len(events), response["output"], response["usage"]["output_tokens"]) == (3, [], 0)
        assert server.engine.requests[-1].params.max_tokens == 1
        await create(socket, input="more", previous_response_id=response["id"])
        await until(socket, "response.completed")
        assert prompt_of(server).startswith("<user>hi\nmore")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"type": "response.run"}, "type"),
        ({"background": True}, "background"),
        ({"generate": 1.5}, "generate"),
        ({"stream_id": 7}, "stream_id"),
        ({"temperature": -1.0}, "temperature"),
        ({"inputs": "a"}, "inputs"),
    ],
)
async def test_errors_are_events(server: Server, fields: dict, param: str) -> None:
    async with server.http.ws_connect("/v1/responses") as socket:
        await create(socket, **fields)
        [error] = await until(socket, "error")
        assert error["error"]["param"] == error["param"] == param
        await create(socket)
        await until(socket, "response.completed")


async def test_closing_aborts(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01)))
    async with server.http.ws_connect("/v1/responses") as socket:
        for lane in "ab":
            await create(socket, stream_id=lane)
        await until(socket, "response.output_text.delta")
    for _ in range(100):
        if not server.engine.num_live:
            break
        await asyncio.sleep(0.02)
    assert server.engine.num_live == 0


async def test_the_openai_package_connects(server: Server) -> None:
    pytest.importorskip("websockets")
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client, client.responses.connect() as connection:
        await connection.response.create(model="toy", input="hi")
        async for event in connection:
            if event.type == "response.completed":
                break
    assert event.response.output_text == "Hello, wörld!"
