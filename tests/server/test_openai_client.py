"""The `openai` package talks to the server as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, deltas_script, endless_script
from octavo.types import Delta, FinishReason

HI = [{"role": "user", "content": "hi"}]


def client_of(server: Server, api_key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(server) as client:
        yield client


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["toy"]
    assert (await client.models.retrieve("toy")).owned_by == "octavo"


async def test_chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="toy", messages=HI, logprobs=True, top_logprobs=2, seed=1, user="me")
    assert answer.choices[0].message.content == "Hello, wörld!"
    assert answer.choices[0].logprobs.content[0].top_logprobs[1].token == "H"
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert answer._request_id == answer.id


async def test_chat_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="toy", messages=HI, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Hello, wörld!"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 34


async def test_completions(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="toy", prompt=["a", "b"], n=2, max_tokens=5, extra_body={"top_k": 5})
    assert [choice.text for choice in answer.choices] == ["Hello"] * 4
    assert answer.choices[3].finish_reason == "length"


async def test_completion_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.completions.create(model="toy", prompt="a", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "Hello, wörld!"


async def test_errors_become_the_client_s_own(start_server: StartServer) -> None:
    server = await start_server(api_key=("right",))
    async with client_of(server, "wrong") as client:
        with pytest.raises(openai.AuthenticationError, match="API key"):
            await client.models.list()
    async with client_of(server, "right") as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="gpt-17", messages=HI)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="toy", messages=[{"role": 5, "content": "hi"}])
        assert bad.value.param == "messages[0].role"
        server.engine.dead = "the runner broke"
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="toy", messages=HI)


async def test_an_error_on_the_way_is_raised(start_server: StartServer) -> None:
    script = deltas_script(Delta(0, "a", [97]), Delta(0, finish_reason=FinishReason.ERROR, error="the logits are not finite"))
    async with client_of(await start_server(ScriptedEngine(script=script))) as client:
        stream = await client.chat.completions.create(model="toy", messages=HI, stream=True)
        with pytest.raises(openai.APIError, match="not finite"):
            async for _ in stream:
                pass


async def test_leaving_a_stream_aborts_it(start_server: StartServer) -> None:
    import asyncio

    server = await start_server(ScriptedEngine(script=endless_script(0.01)))
    async with client_of(server) as client:
        stream = await client.chat.completions.create(model="toy", messages=HI, stream=True)
        await anext(stream)
        await stream.close()
        for _ in range(200):
            if server.engine.aborted:
                break
            await asyncio.sleep(0.01)
    assert server.engine.num_live == 0
