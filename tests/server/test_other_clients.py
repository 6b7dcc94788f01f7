"""What clients written for OpenAI's or vLLM's servers send and look for."""

from __future__ import annotations

from dataclasses import replace

import openai
import pytest

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine
from octavo.text.chat_template import ChatTemplate

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

NEUTRAL = {
    "include_reasoning": True,
    "use_beam_search": False,
    "length_penalty": 1.0,
    "spaces_between_special_tokens": True,
    "cache_prompt": True,
    "keep_alive": "5m",
    "top_k": -1,
    "verbosity": "low",
    "prediction": {"type": "content", "content": "a"},
    "prompt_cache_options": {},
    "web_search_options": {},
    "prompt_cache_key": "a",
    "suffix": "",
}
CHAT_NEUTRAL = {"continue_final_message": False, "echo": False, "top_logprobs": 0, "reasoning_effort": "low", "parallel_tool_calls": False}


def prompt_of(server: Server) -> str:
    return server.engine.tokenizer.decode(server.engine.requests[-1].prompt_token_ids)


@pytest.mark.parametrize("name", NEUTRAL)
async def test_what_asks_for_nothing_is_taken(server: Server, name: str) -> None:
    for path, body in ((CHAT, {"messages": HI}), (COMPLETIONS, {"prompt": "a"})):
        status, document = await server.post(path, {**body, name: NEUTRAL[name]})
        assert status == 200, document
    assert server.engine.requests[-1].params.top_k == 0


@pytest.mark.parametrize("name", CHAT_NEUTRAL)
async def test_what_asks_for_nothing_in_a_chat_is_taken(server: Server, name: str) -> None:
    status, document = await server.post(CHAT, {"messages": HI, name: CHAT_NEUTRAL[name]})
    assert status == 200, document


@pytest.mark.parametrize("name", ["moderation", "web_search", "min_pixels", "xyz", "f" * 1000])
async def test_a_suggestion_needs_a_likeness(server: Server, name: str) -> None:
    message = (await server.error(CHAT, {"messages": HI, name: 1}))["message"]
    assert "did you mean" not in message
    assert len(message) < 200


@pytest.mark.parametrize(
    ("name", "meant"), [("max_token", "max_tokens"), ("temprature", "temperature"), ("stop_token_id", "stop_token_ids")]
)
async def test_a_slip_gets_a_suggestion(server: Server, name: str, meant: str) -> None:
    assert f"did you mean {meant!r}?" in (await server.error(CHAT, {"messages": HI, name: 1}))["message"]


async def test_further_fields_and_roles_go_to_the_template(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    render = server.engine.tokenizer.chat_template.render
    monkeypatch.setattr(
        server.engine.tokenizer.chat_template, "render", lambda turns, **rest: seen.extend(turns) or render(turns, **rest), raising=False
    )
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}], "cache_control": {}},
        {"role": "assistant", "content": "y", "reasoning_content": "z", "tool_calls": [{"id": "1"}]},
        {"role": "ipython", "content": "result", "tool_call_id": "1"},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "developer", "content": "be brief"},
    ]
    status, document = await server.post(CHAT, {"messages": turns})
    assert status == 200, document
    assert seen == [
        {"role": "user", "content": "hi", "cache_control": {}},
        turns[1],
        turns[2],
        turns[3],
        {"role": "assistant", "content": "no"},
        {"role": "system", "content": "be brief"},
    ]


async def test_reasoning_effort_reaches_a_template_that_has_it(server: Server) -> None:
    await server.post(CHAT, {"messages": HI, "reasoning_effort": "low"})
    assert prompt_of(server).startswith("[reasoning_effort=low]")
    server.engine.tokenizer.chat_template = type("Plain", (type(server.engine.tokenizer.chat_template),), {"source": ""})()
    await server.post(CHAT, {"messages": HI, "reasoning_effort": "low"})
    assert prompt_of(server).startswith("<user>")


async def test_template_arguments_may_have_any_name(server: Server) -> None:
    status, document = await server.post(CHAT, {"messages": HI, "chat_template_kwargs": {"self": 1}})
    assert status == 200, document
    assert prompt_of(server).startswith("[self=1]")


async def test_an_overlong_request_has_the_words_that_agents_look_for(server: Server) -> None:
    from octavo.engine.admission import admit
    from octavo.errors import InvalidRequestError

    def submit(request):
        return admit(request, server.engine.info, 512)

    server.engine.submit = submit
    for body in ({"prompt": [5] * 600}, {"prompt": "a" * 20_000}, {"prompt": "a", "max_tokens": 511}):
        error = await server.error(COMPLETIONS, body)
        assert error["code"] == "context_length_exceeded"
        assert "maximum context length is 512 tokens" in error["message"]
    assert issubclass(InvalidRequestError, Exception)


async def test_every_400_has_a_code(server: Server) -> None:
    for path, body in (
        (COMPLETIONS, {"prompt": "a", "n": 0}),
        (COMPLETIONS, {}),
        (CHAT, {"messages": 5}),
        (CHAT, {"messages": HI, "tools": [1]}),
    ):
        assert (await server.error(path, body))["code"] == "invalid_value"


async def test_a_part_that_is_neither_text_nor_image_is_told_the_form(server: Server) -> None:
    parts = [{"type": "input_audio", "input_audio": {}}]
    message = (await server.error(CHAT, {"messages": [{"role": "user", "content": parts}]}))["message"]
    form = '{"type": "text", "text": ...} or {"type": "image_url", "image_url": {"url": ...}}'
    assert message == f"messages[0].content: part 0 is 'input_audio'; it must be {form}"


async def test_an_image_for_a_model_of_text_is_refused_by_its_place(server: Server) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "x"}}]
    error = await server.error(CHAT, {"messages": [{"role": "user", "content": parts}]})
    assert error["param"] == "messages[0].content"
    assert "reads no images" in error["message"]


async def test_keys_that_clients_read_are_there(server: Server) -> None:
    _, document = await server.post(CHAT, {"messages": HI})
    assert {"prompt_logprobs", "prompt_token_ids", "system_fingerprint"} <= set(document)
    assert document["choices"][0]["token_ids"] is None
    _, document = await server.post(COMPLETIONS, {"prompt": "hi"})
    assert {"prompt_logprobs", "prompt_token_ids", "token_ids"} <= set(document["choices"][0])
    _, document = await server.post("/tokenize", {"prompt": "hi"})
    assert document["token_strs"] is None


async def test_the_role_chunk_counts_no_token(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(model="toy", messages=HI, stream=True, **USAGE)
        counts = [chunk.usage.completion_tokens async for chunk in stream]
    assert (counts[0], counts[-1]) == (0, 14)
    assert counts == sorted(counts)


async def test_no_usage_where_it_is_declined(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        options = {"include_usage": False, "continuous_usage_stats": True}
        stream = await client.chat.completions.create(model="toy", messages=HI, stream=True, stream_options=options)
        async for chunk in stream:
            assert chunk.usage is None
            assert chunk.choices


async def test_a_model_may_have_several_names(start_server: StartServer) -> None:
    engine = ScriptedEngine()
    engine.info = replace(engine.info, aliases=("gpt-4o", "other"))
    server = await start_server(engine)
    for name in ("toy", "gpt-4o", "other"):
        _, document = await server.post(CHAT, {"messages": HI, "model": name})
        assert document["model"] == name
    assert (await server.post(CHAT, {"messages": HI}))[1]["model"] == "toy"
    async with server.http.get("/v1/models") as response:
        cards = (await response.json())["data"]
    assert [(card["id"], card["root"]) for card in cards] == [("toy", "toy"), ("gpt-4o", "toy"), ("other", "toy")]
    await server.error(CHAT, {"messages": HI, "model": "gpt-17"}, status=404)


async def test_the_last_message_goes_on(server: Server) -> None:
    turns = [*HI, {"role": "assistant", "content": "Once upon "}]
    status, document = await server.post(CHAT, {"messages": turns, "continue_final_message": True})
    assert status == 200, document
    assert prompt_of(server) == "<user>hi\n<assistant>Once upon"
    _, document = await server.post("/tokenize", {"messages": turns, "continue_final_message": True})
    assert bytes(document["tokens"]).decode() == "<user>hi\n<assistant>Once upon"
    error = await server.error(CHAT, {"messages": turns, "continue_final_message": True, "add_generation_prompt": True})
    assert error["param"] == "continue_final_message"


async def test_prompts_can_be_cut_at_their_beginning(server: Server) -> None:
    for path, body in ((COMPLETIONS, {"prompt": "0123456789"}), (CHAT, {"messages": [{"role": "user", "content": "0123456789"}]})):
        whole = len((await server.post(path, body), server.engine.requests[-1].prompt_token_ids)[1])
        await server.post(path, {**body, "truncate_prompt_tokens": 4})
        assert len(server.engine.requests[-1].prompt_token_ids) == 4
        await server.post(path, {**body, "truncate_prompt_tokens": 10_000})
        assert len(server.engine.requests[-1].prompt_token_ids) == whole
        await server.error(path, {**body, "truncate_prompt_tokens": 0})
        await server.error(path, {**body, "truncate_prompt_tokens": -2})
    await server.post(COMPLETIONS, {"prompt": [5] * 600, "truncate_prompt_tokens": -1, "max_tokens": 1})
    assert len(server.engine.requests[-1].prompt_token_ids) == 511
    _, document = await server.post(COMPLETIONS, {"prompt": "0123456789", "truncate_prompt_tokens": 4, "echo": True})
    assert document["choices"][0]["text"] == "6789Hello, wörld!"


async def test_tokens_may_be_named_by_their_ids(server: Server) -> None:
    _, document = await server.post(COMPLETIONS, {"prompt": "a", "max_tokens": 1, "logprobs": 1, "return_tokens_as_token_ids": True})
    logprobs = document["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["token_id:72"]
    assert set(logprobs["top_logprobs"][0]) == {"token_id:72", "token_id:73"}
    body = {"messages": HI, "max_tokens": 1, "logprobs": True, "top_logprobs": 1, "return_tokens_as_token_ids": True}
    _, document = await server.post(CHAT, body)
    [token] = document["choices"][0]["logprobs"]["content"]
    assert (token["token"], token["bytes"], token["top_logprobs"][0]["token"]) == ("token_id:72", [72], "token_id:73")


async def test_a_request_may_bring_a_template_where_the_server_trusts_it(start_server: StartServer) -> None:
    body = {"messages": HI, "chat_template": "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"}
    error = await (await start_server()).error(CHAT, body)
    assert (error["param"], "--trust-request-chat-template" in error["message"]) == ("chat_template", True)
    server = await start_server(trust_request_chat_template=True)
    server.engine.tokenizer.chat_template = ChatTemplate({"default": "none"}, {"eos_token": "</s>"})
    status, document = await server.post(CHAT, body)
    assert status == 200, document
    assert prompt_of(server) == "[user] hi</s>"
    for source in ("{% for %}", "{{ 9 ** (9 ** 9) }}", "{% for a in range(99999) %}{% for b in range(99999) %}a{% endfor %}{% endfor %}"):
        error = await server.error(CHAT, {**body, "chat_template": source})
        assert error["param"] in ("chat_template", "messages")
    assert (await server.post(CHAT, body))[0] == 200
