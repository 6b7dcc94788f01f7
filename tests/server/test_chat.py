"""POST /v1/chat/completions, whole."""

from __future__ import annotations

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


def prompt_of(server: Server) -> str:
    return server.engine.tokenizer.decode(server.engine.requests[-1].prompt_token_ids)


async def test_one_choice(server: Server) -> None:
    status, document = await server.post(PATH, {"messages": HI})
    assert status == 200
    assert document["object"] == "chat.completion"
    assert document["id"].startswith("chatcmpl-")
    assert document["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello, wörld!", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
            "token_ids": None,
        }
    ]
    assert document["usage"]["completion_tokens"] == 14
    assert server.engine.requests[0].params.max_tokens is None
    assert prompt_of(server) == "<user>hi\n<assistant>"


async def test_roles_and_parts_reach_the_template(server: Server) -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42", "tool_call_id": "x"},
    ]
    body = {"messages": messages, "add_generation_prompt": False, "chat_template_kwargs": {"thinking": False}}
    status, document = await server.post(PATH, body)
    assert status == 200, document
    assert prompt_of(server) == "[thinking=False]<system>be brief\n<user>a\nb\n<assistant>\n<tool>42\n"


async def test_max_completion_tokens(server: Server) -> None:
    _, document = await server.post(PATH, {"messages": HI, "max_completion_tokens": 5})
    assert document["choices"][0]["message"]["content"] == "Hello"
    assert document["choices"][0]["finish_reason"] == "length"


async def test_choices_come_in_order(server: Server) -> None:
    _, document = await server.post(PATH, {"messages": HI, "n": 3})
    assert [choice["index"] for choice in document["choices"]] == [0, 1, 2]
    assert document["usage"]["prompt_tokens"] == 20


async def test_logprobs_have_bytes_and_alternatives(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine("é"))
    _, document = await server.post(PATH, {"messages": HI, "logprobs": True, "top_logprobs": 1})
    content = document["choices"][0]["logprobs"]["content"]
    assert content[1] == {
        "token": "\ufffd",
        "logprob": -1.5,
        "bytes": [0xA9],
        "top_logprobs": [{"token": "\ufffd", "logprob": -0.5, "bytes": [0xAA]}],
    }
    assert b"".join(bytes(entry["bytes"]) for entry in content).decode() == "é"


async def test_logprobs_without_alternatives(server: Server) -> None:
    _, document = await server.post(PATH, {"messages": HI, "logprobs": True})
    assert document["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


async def test_token_ids_stand_beside_the_text(server: Server) -> None:
    _, document = await server.post(PATH, {"messages": HI, "return_token_ids": True, "prompt_logprobs": 0})
    assert bytes(document["prompt_token_ids"]).decode() == "<user>hi\n<assistant>"
    assert bytes(document["choices"][0]["token_ids"]).decode() == "Hello, wörld!"
    assert len(document["prompt_logprobs"]) == len(document["prompt_token_ids"])


async def test_the_request_id_is_a_header_too(server: Server) -> None:
    async with server.http.post(PATH, json={"messages": HI}) as response:
        assert response.headers["X-Request-Id"] == (await response.json())["id"]
