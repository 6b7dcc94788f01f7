"""Every bad body is a 4xx that names the field."""

from __future__ import annotations

import pytest

from fakes.running_server import Server

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"prompt": [999999]}, "prompt"),
        ({"prompt": "x" * 600}, "prompt"),
        ({"max_tokens": 511}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
        ({"n": 129}, "n"),
        ({"n": True}, "n"),
        ({"best_of": 3, "n": 4}, "best_of"),
        ({"best_of": 129}, "best_of"),
        ({"best_of": 0}, "best_of"),
        ({"suffix": "tail"}, "suffix"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": "NaN"}, "temperature"),
        ({"temperature": 101}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": -1}, "min_p"),
        ({"top_n_sigma": 101}, "top_n_sigma"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"min_tokens": 17}, "min_tokens"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"logprobs": 65}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"prompt_logprobs": -1}, "prompt_logprobs"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"stop": ["a", ""]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids[0]"),
        ({"allowed_token_ids": []}, "allowed_token_ids"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"5": "x"}}, "logit_bias.5"),
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
        ({"max_token": 5}, "max_token"),
        ({"guided_json": {}}, "guided_json"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
async def test_bad_completion_names_its_field(server: Server, change: dict, param: str) -> None:
    error = await server.error(COMPLETIONS, {"prompt": "hi", **change})
    assert error["param"] == param
    assert param.partition("[")[0].partition(".")[0] in error["message"]
    assert error["type"] == "invalid_request_error"
    assert not server.engine.num_live


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [*HI, {"content": "hi"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "any"}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -5}, "max_completion_tokens"),
        ({"logprobs": 3}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 65}, "top_logprobs"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ({"n": 0}, "n"),
        ({"moderation": "high"}, "moderation"),
        ({"use_beam_search": True, "top_p": 0.5}, "top_p"),
        ({"use_beam_search": True, "best_of": 33}, "beam_width"),
        ({"use_beam_search": True, "n": 3, "best_of": 2}, "n"),
        ({"use_beam_search": True, "early_stopping": "soon"}, "early_stopping"),
        ({"length_penalty": 2.0}, "length_penalty"),
    ],
)
async def test_bad_chat_names_its_field(server: Server, change: dict, param: str) -> None:
    error = await server.error(CHAT, {"messages": HI, **change})
    assert error["param"] == param
    assert param.partition("[")[0] in error["message"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"top_logprobs": 2}, "top_logprobs needs logprobs"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens and max_completion_tokens differ"),
        ({"stream_options": {"include_usage": True}}, "stream_options is allowed only with stream"),
        ({"tools": [{}]}, "tools[0].type is required"),
        ({"messages": [{"role": "tool"}]}, "a tool message needs content"),
        ({"max_token": 3}, "did you mean 'max_tokens'?"),
        ({"n": 0}, "n is 0; it must be at least 1 and at most 128"),
    ],
)
async def test_messages_say_what_to_do(server: Server, change: dict, text: str) -> None:
    assert text in (await server.error(CHAT, {"messages": HI, **change}))["message"]


async def test_bad_requests_fail_before_a_stream_starts(server: Server) -> None:
    error = await server.error(CHAT, {"messages": [], "stream": True})
    assert error["param"] == "messages"


async def test_harmless_fields_and_nulls_are_accepted(server: Server) -> None:
    ignored = {"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "tools": [], "tool_choice": "none"}
    nulls = dict.fromkeys(("stop", "seed", "max_tokens", "temperature", "logit_bias", "stream_options", "response_format", "n"))
    body = {"messages": HI, "model": "toy", "parallel_tool_calls": True, **ignored, **nulls}
    status, document = await server.post(CHAT, body)
    assert status == 200, document
    params = server.engine.requests[0].params
    assert (params.n, params.temperature, params.max_tokens, params.stop) == (1, 1.0, None, ())


async def test_history_of_an_openai_client_is_accepted(server: Server) -> None:
    answer = {
        "role": "assistant",
        "content": "yes",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    status, document = await server.post(CHAT, {"messages": [*HI, answer, {"role": "user", "content": "go on"}]})
    assert status == 200, document


async def test_unknown_model_is_404(server: Server) -> None:
    for path, body in ((COMPLETIONS, {"prompt": "a"}), (CHAT, {"messages": HI}), ("/tokenize", {"prompt": "a"})):
        error = await server.error(path, {**body, "model": "gpt-17"}, status=404)
        assert error["code"] == "model_not_found"
        assert error["param"] == "model"
        assert "'toy'" in error["message"]


async def test_a_model_without_a_chat_template_says_so(server: Server) -> None:
    server.engine.tokenizer.chat_template = None
    error = await server.error(CHAT, {"messages": HI})
    assert "no chat template" in error["message"]
