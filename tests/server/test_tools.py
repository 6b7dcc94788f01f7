"""Tools and thinking over /v1/chat/completions: what the model is told, what a client gets, streamed or whole."""

from __future__ import annotations

import json

import pytest
from openai import AsyncOpenAI

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine
from octavo.errors import ConfigError
from octavo.server.speech import Speech

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = 'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ASK = [{"role": "user", "content": "How is the weather?"}]


def body(**more: object) -> dict:
    return {"messages": ASK, "tools": [WEATHER], **more}


async def calling(start_server: StartServer, answer: str = CALL, **settings: object) -> Server:
    return await start_server(ScriptedEngine(answer, max_model_len=4096), **settings)


async def test_a_call_comes_back_whole(start_server: StartServer) -> None:
    server = await calling(start_server)
    status, document = await server.post("/v1/chat/completions", body())
    assert status == 200
    choice = document["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me see."
    [call] = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}


async def test_the_openai_package_streams_a_call(start_server: StartServer) -> None:
    server = await calling(start_server)
    client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")
    async with client.chat.completions.stream(model="toy", messages=ASK, tools=[WEATHER]) as stream:
        final = await stream.get_final_completion()
    message = final.choices[0].message
    assert final.choices[0].finish_reason == "tool_calls"
    assert message.content == "Let me see."
    assert [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls] == [
        ("get_weather", {"city": "Paris"})
    ]


async def test_a_template_without_tools_gets_them_in_the_system_message(start_server: StartServer) -> None:
    server = await calling(start_server)
    earlier = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "system", "content": "Be kind."},
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [earlier]},
        {"role": "tool", "tool_call_id": "x", "content": "sunny"},
    ]
    await server.post("/v1/chat/completions", body(messages=history))
    prompt = server.engine.tokenizer.decode(server.engine.requests[-1].prompt_token_ids)
    assert prompt.startswith("<system>Be kind.")
    assert '"name": "get_weather"' in prompt
    assert '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>' in prompt
    assert "<user><tool_response>\nsunny" in prompt


async def test_no_tools_no_calls(start_server: StartServer) -> None:
    server = await calling(start_server)
    for request in ({"messages": ASK}, body(tool_choice="none")):
        _, document = await server.post("/v1/chat/completions", request)
        assert document["choices"][0]["message"]["content"] == CALL
        assert document["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("parser", ["mistral", "none"])
async def test_the_format_can_be_chosen(start_server: StartServer, parser: str) -> None:
    server = await calling(start_server, tool_parser=parser)
    _, document = await server.post("/v1/chat/completions", body())
    assert document["choices"][0]["message"]["content"] == CALL


def test_an_unknown_format_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="--tool-parser: no parsers plugin named 'hermess'; available: cohere"):
        Speech("", "hermess")


async def test_thinking_is_apart(start_server: StartServer) -> None:
    server = await calling(start_server, "<think>\nhm\n</think>\n\nYes.")
    server.context.speech = Speech("<think> tools")
    _, document = await server.post("/v1/chat/completions", {"messages": ASK})
    message = document["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"], message["reasoning"]) == ("Yes.", "hm", "hm")
    events = [json.loads(event) for event in (await server.events("/v1/chat/completions", {"messages": ASK}))[:-1]]
    deltas = [event["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "hm"
    assert "".join(delta.get("content", "") for delta in deltas) == "Yes."
    _, document = await server.post("/v1/chat/completions", {"messages": ASK, "include_reasoning": False})
    assert "reasoning" not in document["choices"][0]["message"]


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"type": "web_search"}], "tools[0].type"),
        ([{"type": "function", "function": {"name": "a b"}}], "tools[0].function.name"),
        ([{"type": "function", "function": {"name": "a", "parameters": []}}], "tools[0].function.parameters"),
        ([WEATHER] * 600, "tools"),
    ],
)
async def test_a_tool_that_is_none_is_named(server: Server, tools: list, param: str) -> None:
    error = await server.error("/v1/chat/completions", body(tools=tools))
    assert error["param"] == param
