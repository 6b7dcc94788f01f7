"""POST /v1/completions, whole."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fakes.fake_tokenizer import BOS
from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ChattyTokenizer, ScriptedEngine, deltas_script
from octavo.types import Delta, FinishReason

PATH = "/v1/completions"


async def test_one_prompt(server: Server) -> None:
    status, document = await server.post(PATH, {"model": "toy", "prompt": "hi"})
    assert status == 200
    assert document["object"] == "text_completion"
    assert document["model"] == "toy"
    unasked = {"token_ids": None, "prompt_token_ids": None, "prompt_logprobs": None}
    said = {"index": 0, "text": "Hello, wörld!", "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    assert document["choices"] == [said | unasked]
    assert document["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 14,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    [request] = server.engine.requests
    assert request.params.max_tokens == 16
    assert request.prompt_token_ids == [BOS, 104, 105]


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("hi", [[BOS, 104, 105]]),
        (["hi", "a"], [[BOS, 104, 105], [BOS, 97]]),
        ([104, 105], [[104, 105]]),
        ([[104], [105, 106]], [[104], [105, 106]]),
        (["hi", [97]], [[BOS, 104, 105], [97]]),
    ],
)
async def test_prompt_shapes(server: Server, prompt: object, ids: list[list[int]]) -> None:
    status, document = await server.post(PATH, {"prompt": prompt, "n": 2})
    assert status == 200
    assert [request.prompt_token_ids for request in server.engine.requests] == ids
    assert [choice["index"] for choice in document["choices"]] == list(range(2 * len(ids)))
    assert document["usage"]["prompt_tokens"] == sum(map(len, ids))
    assert document["usage"]["completion_tokens"] == 2 * len(ids) * 14


async def test_add_special_tokens_can_be_switched_off(server: Server) -> None:
    await server.post(PATH, {"prompt": "a", "add_special_tokens": False})
    assert server.engine.requests[0].prompt_token_ids == [97]


async def test_every_sampling_field_arrives(server: Server) -> None:
    fields = {
        "n": 2,
        "max_tokens": 9,
        "min_tokens": 3,
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 0.9,
        "min_p": 0.1,
        "top_n_sigma": 1.5,
        "seed": 42,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "include_stop_str_in_output": True,
        "ignore_eos": True,
        "logprobs": 3,
        "prompt_logprobs": 1,
        "skip_special_tokens": False,
    }
    lists = {"bad_words": ["x"], "stop_token_ids": [5], "allowed_token_ids": [1, 2]}
    others = {"logit_bias": {"5": -100}, "stop": "END", "priority": -2, "cache_salt": "s"}
    status, document = await server.post(PATH, {"prompt": "a", **fields, **lists, **others})
    assert status == 200, document
    [request] = server.engine.requests
    assert {name: getattr(request.params, name) for name in fields} == fields
    assert {name: list(getattr(request.params, name)) for name in lists} == lists
    assert request.params.logit_bias == {5: -100}
    assert request.params.stop == ("END",)
    assert (request.priority, request.cache_salt) == (-2, "s")


async def test_a_negative_seed_becomes_an_unsigned_key(server: Server) -> None:
    await server.post(PATH, {"prompt": "a", "seed": -1})
    assert server.engine.requests[0].params.seed == 2**64 - 1


async def test_logprobs_have_the_legacy_shape(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine("é!"))
    _, document = await server.post(PATH, {"prompt": "a", "logprobs": 1})
    assert document["choices"][0]["logprobs"] == {
        "tokens": ["bytes:\\xc3", "bytes:\\xa9", "!"],
        "token_logprobs": [-1.5, -1.5, -1.5],
        "top_logprobs": [
            {"bytes:\\xc4": -0.5, "bytes:\\xc3": -1.5},
            {"bytes:\\xaa": -0.5, "bytes:\\xa9": -1.5},
            {'"': -0.5, "!": -1.5},
        ],
        "text_offset": [0, 0, 1],
    }


async def test_echo_begins_with_the_prompt_and_its_logprobs(server: Server) -> None:
    _, document = await server.post(PATH, {"prompt": "hi", "echo": True, "logprobs": 0, "max_tokens": 6, "n": 2})
    for choice in document["choices"]:
        logprobs = choice["logprobs"]
        assert choice["text"] == "hiHello,"
        assert logprobs["tokens"] == ["<s>", *"hiHello,"]
        assert logprobs["token_logprobs"] == [None, *[-1.5] * 8]
        assert logprobs["text_offset"] == [0, 0, 1, 2, 3, 4, 5, 6, 7], "the added first token is not part of the text"
    assert server.engine.requests[0].params.prompt_logprobs == 0


async def test_echo_of_token_ids_is_their_text(server: Server) -> None:
    _, document = await server.post(PATH, {"prompt": [BOS, 104, 105], "echo": True, "logprobs": 0, "max_tokens": 5})
    assert document["choices"][0]["text"] == "<s>hiHello"
    assert document["choices"][0]["logprobs"]["text_offset"] == [0, 3, 4, 5, 6, 7, 8, 9]


async def test_max_tokens_0_with_echo_scores_the_prompt(server: Server) -> None:
    _, document = await server.post(PATH, {"prompt": "hi", "echo": True, "logprobs": 2, "max_tokens": 0})
    [choice] = document["choices"]
    assert choice["text"] == "hi"
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"]["tokens"] == ["<s>", "h", "i"]
    assert document["usage"]["completion_tokens"] == 0


async def test_token_ids_and_prompt_logprobs_on_request(server: Server) -> None:
    _, document = await server.post(PATH, {"prompt": ["a", "b"], "n": 2, "return_token_ids": True, "prompt_logprobs": 1, "max_tokens": 5})
    choices = document["choices"]
    assert [choice["prompt_token_ids"] for choice in choices] == [[BOS, 97], [BOS, 97], [BOS, 98], [BOS, 98]]
    assert all(choice["token_ids"] == list(b"Hello") for choice in choices)
    assert choices[2]["prompt_logprobs"] == [
        None,
        {"99": {"logprob": -0.5, "rank": 1, "decoded_token": "c"}, "98": {"logprob": -1.5, "rank": 2, "decoded_token": "b"}},
    ]


async def test_stop_reason_tells_the_stop_string(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=deltas_script(Delta(0, "ab", [97], None, FinishReason.STOP, "END"))))
    _, document = await server.post(PATH, {"prompt": "a", "stop": "END"})
    assert document["choices"][0]["stop_reason"] == "END"


async def test_a_fault_in_one_choice_ends_the_request_with_500(start_server: StartServer) -> None:
    script = deltas_script(Delta(0, "a", [97]), Delta(0, finish_reason=FinishReason.ERROR, error="the logits are not finite"))
    server = await start_server(ScriptedEngine(script=script))
    error = await server.error(PATH, {"prompt": ["a", "b"]}, status=500)
    assert error["message"] == "the logits are not finite"
    assert error["code"] == "generation_failed"


async def test_when_one_prompt_is_refused_the_others_are_aborted(server: Server) -> None:
    await server.error(PATH, {"prompt": ["a", "x" * 600]})
    assert len(server.engine.requests) == 1
    assert server.engine.num_live == 0
    assert len(server.engine.aborted) == 1


async def test_a_full_queue_is_503_and_says_when_to_come_back(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(max_waiting=0))
    async with server.http.post(PATH, json={"prompt": "a"}) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert (await response.json())["error"]["code"] == "queue_full"


async def test_a_long_text_is_tokenized_off_the_loop(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    server = await start_server(ScriptedEngine(max_model_len=30_000))
    threads = []
    encode = server.engine.tokenizer.encode

    def spy(text: str, **options: bool) -> list[int]:
        threads.append(threading.current_thread() is threading.main_thread())
        return encode(text, **options)

    monkeypatch.setattr(server.engine.tokenizer, "encode", spy)
    await server.post(PATH, {"prompt": "a"})
    await server.post(PATH, {"prompt": "a" * 20_000})
    assert threads == [True, False]


async def test_a_text_that_cannot_fit_is_refused_unread(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.engine.tokenizer, "encode", None)
    for path, body, param in (
        (PATH, {"prompt": "a" * 20_000}, "prompt"),
        ("/tokenize", {"prompt": "a" * 20_000}, "prompt"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 20_000}]}, "messages"),
    ):
        error = await server.error(path, body)
        assert (error["param"], error["code"]) == (param, "context_length_exceeded")
        assert "maximum context length is 512 tokens" in error["message"]


async def test_of_a_text_that_is_too_long_a_beginning_is_tokenized(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """512 tokens of at most 41 bytes might hold it by its length alone."""
    monkeypatch.setattr(server.context, "_max_token_bytes", 41)
    sizes = []
    encode = server.engine.tokenizer.encode
    monkeypatch.setattr(server.engine.tokenizer, "encode", lambda text, **options: sizes.append(len(text)) or encode(text, **options))
    error = await server.error(PATH, {"prompt": "a" * 20_000})
    assert error["code"] == "context_length_exceeded"
    assert sizes == [8 * 512]


class FillingTokenizer(ChattyTokenizer):
    """The toy tokenizer with the marks of StarCoder as its last tokens."""

    vocab_size = 261
    marks = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        ids = [BOS] if add_special_tokens else []
        for piece in re.split(f"({'|'.join(self.marks)})", text):
            ids += [258 + self.marks.index(piece)] if piece in self.marks else list(piece.encode())
        return ids


async def test_a_suffix_is_shown_to_a_model_that_fills_in_the_middle(server: Server) -> None:
    server.engine.tokenizer = FillingTokenizer()
    server.engine.info = replace(server.engine.info, vocab_size=261)
    status, document = await server.post(PATH, {"prompt": "ab", "suffix": "yz"})
    assert status == 200, document
    assert server.engine.requests[-1].prompt_token_ids == [BOS, 258, *b"ab", 259, *b"yz", 260]
    assert document["choices"][0]["text"] == "Hello, wörld!"
    for change in ({"prompt": [5]}, {"echo": True}):
        error = await server.error(PATH, {"prompt": "ab", "suffix": "yz", **change})
        assert "suffix" in error["message"]
