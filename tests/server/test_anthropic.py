"""Anthropic's Messages API, through its own package."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic, BadRequestError

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, deltas_script
from octavo.server.speech import Speech
from octavo.types import Delta, FinishReason

CALL = 'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER = {"name": "get_weather", "description": "Tells.", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
ASK = [{"role": "user", "content": "How is the weather?"}]


CLIENTS: list[AsyncAnthropic] = []


@pytest.fixture(autouse=True)
async def close_clients() -> AsyncIterator[None]:
    """Each on the loop that it was used on: one that is collected later closes its connections on another test's."""
    yield
    while CLIENTS:
        await CLIENTS.pop().close()


def client_of(server: Server, key: str = "none") -> AsyncAnthropic:
    CLIENTS.append(AsyncAnthropic(base_url=server.url, api_key=key, max_retries=0))
    return CLIENTS[-1]


async def talking(start_server: StartServer, answer: str) -> Server:
    return await start_server(ScriptedEngine(answer, max_model_len=4096))


def prompt_of(server: Server) -> str:
    return server.engine.tokenizer.decode(server.engine.requests[-1].prompt_token_ids)


async def test_a_message(server: Server) -> None:
    message = await client_of(server).messages.create(model="toy", max_tokens=100, messages=ASK, system="Be kind.")
    assert message.content[0].text == "Hello, wörld!"
    assert (message.role, message.stop_reason, message.model) == ("assistant", "end_turn", "toy")
    assert message.usage.output_tokens == 14
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens == len(server.engine.requests[-1].prompt_token_ids)
    assert prompt_of(server).startswith("<system>Be kind.\n<user>How is")


async def test_a_streamed_message_is_the_same(server: Server) -> None:
    client = client_of(server)
    async with client.messages.stream(model="toy", max_tokens=100, messages=ASK) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert message.content[0].text == "Hello, wörld!"
    assert message.usage.output_tokens == 14
    assert message.usage.input_tokens > 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_text_and_a_call_are_blocks(start_server: StartServer, streamed: bool) -> None:
    server = await talking(start_server, "<think>\nhm\n</think>\n" + CALL)
    server.context.speech = Speech("<think>")
    client = client_of(server)
    asked = {"model": "toy", "max_tokens": 400, "messages": ASK, "tools": [WEATHER]}
    if streamed:
        async with client.messages.stream(**asked) as stream:
            message = await stream.get_final_message()
    else:
        message = await client.messages.create(**asked)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[0].thinking == "hm"
    assert message.content[1].text == "Let me see."
    assert (message.content[2].name, message.content[2].input) == ("get_weather", {"city": "Paris"})
    assert message.stop_reason == "tool_use"


async def test_history_with_calls_results_and_reminders(start_server: StartServer) -> None:
    server = await talking(start_server, "Sunny.")
    called = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
    history = [
        *ASK,
        {"role": "assistant", "content": [{"type": "text", "text": "Look:"}, called]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "20 C"}]}]},
        {"role": "system", "content": "Short answers."},
    ]
    billing = [{"type": "text", "text": "x-anthropic-billing-header: v=1"}, {"type": "text", "text": "Be kind."}]
    await client_of(server).messages.create(model="toy", max_tokens=50, messages=history, system=billing, tools=[WEATHER])
    prompt = prompt_of(server)
    assert "billing" not in prompt
    assert prompt.startswith("<system>Be kind.")
    assert '<assistant>Look:\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}' in prompt
    assert "<user><tool_response>\n20 C\n</tool_response>\n<user>Short answers." in prompt


async def test_ends_and_counts(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=deltas_script(Delta(0, "ab", [1], finish_reason=FinishReason.LENGTH))))
    message = await client_of(server).messages.create(model="toy", max_tokens=1, messages=ASK)
    assert message.stop_reason == "max_tokens"
    server = await start_server(
        ScriptedEngine(script=deltas_script(Delta(0, "a", [1], finish_reason=FinishReason.STOP, stop_reason="END")))
    )
    message = await client_of(server).messages.create(model="toy", max_tokens=9, messages=ASK, stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    counted = await client_of(server).messages.count_tokens(model="toy", messages=ASK)
    assert counted.input_tokens == len(server.engine.requests[-1].prompt_token_ids)


async def test_errors_have_anthropics_form(server: Server) -> None:
    client = client_of(server)
    image = {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}]}
    with pytest.raises(BadRequestError, match="this model reads no images") as refused:
        await client.messages.create(model="toy", max_tokens=1, messages=[image])
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(BadRequestError, match="web_search"):
        await client.messages.create(model="toy", max_tokens=1, messages=ASK, tools=[{"type": "web_search_20250305", "name": "web_search"}])


async def test_the_key_may_come_in_x_api_key(start_server: StartServer) -> None:
    server = await start_server(api_key=("secret",))
    assert (await client_of(server, "secret").messages.create(model="toy", max_tokens=9, messages=ASK)).role == "assistant"
    async with server.http.post("/v1/messages", json={}, headers={"x-api-key": "wrong"}) as response:
        assert response.status == 401
        assert (await response.json())["error"]["type"] == "authentication_error"
