"""Ollama's API, through its own package."""

from __future__ import annotations

import json

import pytest
from ollama import AsyncClient, ResponseError

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
ASK = [{"role": "user", "content": "Hi"}]


async def test_chat_whole_and_streamed(server: Server) -> None:
    client = AsyncClient(server.url)
    whole = await client.chat(model="toy:latest", messages=ASK, options={"temperature": 0, "num_predict": 30, "stop": ["END"]})
    assert whole.message.content == "Hello, wörld!"
    assert whole.done
    assert whole.done_reason == "stop"
    assert whole.eval_count == 14
    params = server.engine.requests[-1].params
    assert (params.temperature, params.max_tokens, params.stop, params.top_k) == (0, 30, ("END",), 40)
    pieces = [piece async for piece in await client.chat(model="toy", messages=ASK, stream=True)]
    assert "".join(piece.message.content for piece in pieces) == "Hello, wörld!"
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]


async def test_generate_with_the_template_and_raw(server: Server) -> None:
    client = AsyncClient(server.url)
    assert (await client.generate(model="toy", prompt="Hi", system="Be kind.")).response == "Hello, wörld!"
    prompt = server.engine.tokenizer.decode(server.engine.requests[-1].prompt_token_ids)
    assert prompt.startswith("<system>Be kind.")
    await client.generate(model="toy", prompt="Hi", raw=True)
    assert server.engine.tokenizer.decode(server.engine.requests[-1].prompt_token_ids).endswith("Hi")


async def test_a_call(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(CALL, max_model_len=4096))
    history = [
        *ASK,
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"role": "tool", "content": "x"},
    ]
    answer = await AsyncClient(server.url).chat(model="toy", messages=history, tools=[WEATHER])
    [call] = answer.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})


async def test_what_a_client_asks_before_it_talks(server: Server) -> None:
    client = AsyncClient(server.url)
    assert [model.model for model in (await client.list()).models] == ["toy"]
    shown = await client.show("toy")
    assert "tools" in shown.capabilities
    async with server.http.get("/api/version") as response:
        assert json.loads(await response.text())["version"]


async def test_errors_have_ollamas_form(server: Server) -> None:
    client = AsyncClient(server.url)
    with pytest.raises(ResponseError, match="not served here"):
        await client.chat(model="other", messages=ASK)
    with pytest.raises(ResponseError, match="this model reads no images"):
        await client.chat(model="toy", messages=[{"role": "user", "content": "Hi", "images": ["aGk="]}])
