"""OpenAI's Responses API, through its own package."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from openai import AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, deltas_script, endless_script, words_script
from octavo.server.responses.store import ResponseStore
from octavo.server.speech import Speech
from octavo.types import Delta, FinishReason

CALL = 'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
Connect = Callable[[Server], AsyncOpenAI]
PATCH = {"type": "custom", "name": "patch", "description": "Applies.", "format": {"type": "text"}}


@pytest.fixture
async def client_of() -> AsyncIterator[Connect]:
    """Make clients; all are closed at the end, while their loop runs."""
    async with AsyncExitStack() as clients:

        def connect(server: Server) -> AsyncOpenAI:
            client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=30.0)
            clients.push_async_callback(client.close)
            return client

        yield connect


async def talking(start_server: StartServer, answer: str = "Hello, wörld!", **settings: object) -> Server:
    return await start_server(ScriptedEngine(answer, max_model_len=4096), **settings)


def prompt_of(server: Server) -> str:
    return server.engine.tokenizer.decode(server.engine.requests[-1].prompt_token_ids)


async def test_a_whole_response(client_of: Connect, server: Server) -> None:
    response = await client_of(server).responses.create(model="toy", input="hi", instructions="Be kind.", metadata={"a": "b"})
    assert response.output_text == "Hello, wörld!"
    assert (response.status, response.model, response.metadata) == ("completed", "toy", {"a": "b"})
    assert response.usage.output_tokens == 14
    assert response.usage.input_tokens == len(server.engine.requests[-1].prompt_token_ids)
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert prompt_of(server) == "<system>Be kind.\n<user>hi\n<assistant>"


async def test_the_events_of_a_stream(client_of: Connect, server: Server) -> None:
    stream = await client_of(server).responses.create(model="toy", input="hi", stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type.removeprefix("response.") for event in events] == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert events[0].response.output == []
    assert events[-1].response.output_text == "Hello, wörld!" == events[6].text


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_text_and_a_call_are_items(client_of: Connect, start_server: StartServer, streamed: bool) -> None:
    server = await talking(start_server, "<think>\nhm\n</think>\n" + CALL)
    server.context.speech = Speech("<think>")
    client = client_of(server)
    if streamed:
        async with client.responses.stream(model="toy", input="hi", tools=[WEATHER]) as stream:
            kinds = {event.type async for event in stream}
            response = await stream.get_final_response()
        assert {"response.reasoning_text.delta", "response.function_call_arguments.done"} <= kinds
    else:
        response = await client.responses.create(model="toy", input="hi", tools=[WEATHER])
    thought, message, call = response.output
    assert thought.content[0].text == "hm"
    assert message.content[0].text == "Let me see."
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_weather", {"city": "Paris"})
    assert call.call_id.startswith("call_")


async def test_a_custom_tool_gets_free_text(client_of: Connect, start_server: StartServer) -> None:
    server = await talking(start_server, '<tool_call>\n{"name": "patch", "arguments": {"input": "a\\nb"}}\n</tool_call>')
    stream = await client_of(server).responses.create(model="toy", input="hi", tools=[PATCH, {"type": "web_search"}], stream=True)
    events = [event async for event in stream]
    assert "response.custom_tool_call_input.done" in [event.type for event in events]
    response = events[-1].response
    assert (response.output[0].type, response.output[0].input) == ("custom_tool_call", "a\nb")
    assert [tool.type for tool in response.tools] == ["custom"]


async def test_a_tool_of_a_namespace_is_called_by_both_names(client_of: Connect, start_server: StartServer) -> None:
    server = await talking(start_server, '<tool_call>\n{"name": "crm__find", "arguments": {"input": "a"}}\n</tool_call>')
    tools = [{"type": "namespace", "name": "crm", "description": "d", "tools": [{**PATCH, "name": "find"}, {**WEATHER, "name": "get"}]}]
    response = await client_of(server).responses.create(model="toy", input="hi", tools=tools)
    [call] = response.output
    assert (call.type, call.namespace, call.name, call.input) == ("custom_tool_call", "crm", "find", "a")
    assert response.tools[0].tools[1].name == "get"
    output = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "b"}
    again = await client_of(server).responses.create(model="toy", input=[output], previous_response_id=response.id, tools=tools)
    assert again.output[0].namespace == "crm"


async def test_a_conversation_goes_on(client_of: Connect, start_server: StartServer) -> None:
    server = await talking(start_server, CALL)
    client = client_of(server)
    first = await client.responses.create(model="toy", input="How is the weather?", instructions="Be kind.", tools=[WEATHER])
    output = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "sunny"}
    ask = {"role": "user", "content": "x"}
    second = await client.responses.create(model="toy", input=[output], previous_response_id=first.id, tools=[WEATHER])
    assert second.previous_response_id == first.id
    prompt = prompt_of(server)
    assert "<user>How is the weather?\n<assistant>Let me see." in prompt
    assert '{"name": "get_weather", "arguments": {"city": "Paris"}}' in prompt
    assert "sunny" in prompt
    assert "Be kind" not in prompt
    listed = await client.responses.input_items.list(second.id)
    assert [(item.type, item.output) for item in listed.data] == [("function_call_output", "sunny")]
    await client.responses.create(model="toy", input=[ask, *[item.to_dict() for item in first.output], output])
    assert "Let me see." in prompt_of(server)
    await client.responses.create(model="toy", input=[ask, {"type": "item_reference", "id": first.output[0].id}])
    assert prompt_of(server).startswith("<user>x\n<assistant>Let me see.")


async def test_retrieve_delete_and_count(client_of: Connect, server: Server) -> None:
    client = client_of(server)
    response = await client.responses.create(model="toy", input=[{"role": "developer", "content": "d"}, {"role": "user", "content": "hi"}])
    assert (await client.responses.retrieve(response.id)).to_dict() == response.to_dict()
    ids = [item.id async for item in await client.responses.input_items.list(response.id, limit=1, order="asc")]
    assert len(set(ids)) == 2
    counted = await client.responses.input_tokens.count(model="toy", input="more", previous_response_id=response.id)
    assert counted.input_tokens > response.usage.input_tokens
    await client.responses.delete(response.id)
    with pytest.raises(NotFoundError):
        await client.responses.retrieve(response.id)
    with pytest.raises(BadRequestError) as refused:
        await client.responses.create(model="toy", input="hi", previous_response_id=response.id)
    assert refused.value.code == "previous_response_not_found"


async def test_what_is_not_stored_is_not_found(client_of: Connect, server: Server) -> None:
    client = client_of(server)
    response = await client.responses.create(model="toy", input="hi", store=False)
    with pytest.raises(NotFoundError, match="store: false"):
        await client.responses.retrieve(response.id)
    with pytest.raises(BadRequestError, match="previous_response_id"):
        await client.responses.create(model="toy", input="hi", previous_response_id=response.id)


async def test_the_end_by_length_and_by_a_fault(client_of: Connect, start_server: StartServer) -> None:
    server = await talking(start_server)
    response = await client_of(server).responses.create(model="toy", input="hi", max_output_tokens=6)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"
    fault = deltas_script(Delta(0, "a", [1]), Delta(0, finish_reason=FinishReason.ERROR, error="broken"))
    client = client_of(await start_server(ScriptedEngine(script=fault)))
    with pytest.raises(InternalServerError, match="broken"):
        await client.responses.create(model="toy", input="hi")
    events = [event async for event in await client.responses.create(model="toy", input="hi", stream=True)]
    assert (events[-1].type, events[-1].response.error.message) == ("response.failed", "broken")


async def test_background_and_cancel(client_of: Connect, start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=words_script("a b c", 0.01)), resume_s=0.0)
    client = client_of(server)
    response = await client.responses.create(model="toy", input="hi", background=True)
    assert response.status in ("queued", "in_progress")
    for _ in range(100):
        if (response := await client.responses.retrieve(response.id)).status == "completed":
            break
        await asyncio.sleep(0.02)
    assert response.output_text == "a b c"
    server = await start_server(ScriptedEngine(script=endless_script(0.01, "x")))
    client = client_of(server)
    response = await client.responses.create(model="toy", input="hi", background=True)
    assert (await client.responses.cancel(response.id)).status == "cancelled"
    assert server.engine.num_live == 0


async def test_a_schema_reaches_the_engine(client_of: Connect, server: Server) -> None:
    form = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}
    response = await client_of(server).responses.create(model="toy", input="hi", text={"format": form})
    assert response.text.format.to_dict() == form
    assert server.engine.requests[-1].params.grammar is not None


async def test_the_oldest_is_dropped_for_newer_ones(client_of: Connect, start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octavo.server.responses.store.ResponseStore", lambda resume_s: ResponseStore(resume_s, max_responses=3))
    client = client_of(await start_server())
    made = [await client.responses.create(model="toy", input="hi") for _ in range(5)]
    await asyncio.sleep(0.01)
    with pytest.raises(NotFoundError):
        await client.responses.retrieve(made[1].id)
    assert (await client.responses.retrieve(made[2].id)).id == made[2].id


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "king", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": [["user"]], "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": ["a"]}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "call_id": "a", "name": 1}]}, "input[0].name"),
        ({"input": [{"type": "item_reference", "id": "msg_x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": "a", "id": 7}]}, "input[0].id"),
        ({"input": [{"type": "reasoning", "summary": 7}]}, "input[0].summary"),
        ({"input": "hi", "tools": [{"type": "file_search"}]}, "tools[0].type"),
        ({"input": "hi", "tools": [{"type": "function", "name": "a b"}]}, "tools[0].function.name"),
        ({"input": "hi", "temperature": -1.0}, "temperature"),
        ({"input": "hi", "background": True, "store": False}, None),
        ({"input": "hi", "conversation": "c"}, "conversation"),
    ],
)
async def test_a_bad_body_is_named(server: Server, fields: dict, param: str | None) -> None:
    error = await server.error("/v1/responses", fields)
    assert error["param"] == param
    assert not server.engine.requests
