"""The whole engine on a GPU: choices, sampling, log-probabilities and prefix caching of requests that share steps."""

from __future__ import annotations

import asyncio

import pytest

import octavo.assemble as assemble
from fakes.fake_tokenizer import FakeTokenizer
from fakes.tiny_models import tiny_checkpoint
from octavo.config import EngineConfig
from octavo.structured import regex_grammar
from octavo.types import FinishReason, GenerationRequest, SamplingParams

pytestmark = pytest.mark.gpu

PROMPT = list(range(5, 45))


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds an engine of a tiny decoder on a device; weights are the same on every device."""
    checkpoint = tiny_checkpoint("llama", tmp_path)
    monkeypatch.setattr(assemble, "open_checkpoint", lambda path, load_format: checkpoint)
    monkeypatch.setattr(assemble, "open_tokenizer", lambda checkpoint: FakeTokenizer())

    def build(device: str, **settings: object):
        config = EngineConfig.of(model=str(tmp_path), device=device, arithmetic="exact", dtype="fp32", kv_cache_bytes=32 << 20, **settings)
        return assemble.build_engine(config)

    return build


def run(engine, requests: list[GenerationRequest]) -> list[dict[int, list]]:
    """The deltas of each choice of each request, all served at once."""

    async def collect(request: GenerationRequest) -> dict[int, list]:
        choices: dict[int, list] = {}
        async for delta in await engine.submit(request):
            choices.setdefault(delta.index, []).append(delta)
        return choices

    async def serve() -> list[dict[int, list]]:
        await engine.start()
        try:
            return await asyncio.gather(*[collect(request) for request in requests])
        finally:
            await engine.close()

    return asyncio.run(serve())


def tokens(deltas: list) -> list[int]:
    assert deltas[-1].finish_reason is FinishReason.LENGTH, deltas[-1].error
    return [token for delta in deltas for token in delta.token_ids]


def requests() -> list[GenerationRequest]:
    common = {"max_tokens": 10, "ignore_eos": True, "seed": 3}
    return [
        GenerationRequest("greedy", PROMPT, SamplingParams(temperature=0.0, logprobs=3, prompt_logprobs=2, **common)),
        GenerationRequest("choices", PROMPT, SamplingParams(temperature=1.0, n=3, **common)),
        GenerationRequest("narrow", PROMPT[:7], SamplingParams(temperature=0.8, top_k=20, top_p=0.9, min_p=0.01, **common)),
        GenerationRequest("penalties", PROMPT[:9], SamplingParams(temperature=0.0, repetition_penalty=1.3, presence_penalty=0.5, **common)),
    ]


def test_answers_are_the_processors(build):
    found, expected = run(build("cuda"), requests()), run(build("cpu"), requests())
    for got, wanted in zip(found, expected, strict=True):
        assert {index: tokens(deltas) for index, deltas in got.items()} == {index: tokens(deltas) for index, deltas in wanted.items()}
    ours, theirs = found[0][0], expected[0][0]
    for got, wanted in zip(ours[0].prompt_logprobs[1:], theirs[0].prompt_logprobs[1:], strict=True):
        assert got.logprob == pytest.approx(wanted.logprob, abs=1e-3)
    for got, wanted in zip([d for delta in ours for d in delta.logprobs], [d for delta in theirs for d in delta.logprobs], strict=True):
        assert got.logprob == pytest.approx(wanted.logprob, abs=1e-3)


def test_grammars_hold_beside_other_requests(build):
    pytest.importorskip("llguidance")
    common = {"max_tokens": 12, "seed": 5}
    asked = [
        GenerationRequest("drawn", PROMPT, SamplingParams(temperature=1.0, grammar=regex_grammar("[a-f]{3}-1234-[xyz]"), **common)),
        GenerationRequest("greedy", PROMPT[:9], SamplingParams(temperature=0.0, grammar=regex_grammar("(cat|dog|cow) [0-9]+!"), **common)),
        GenerationRequest("logprobs", PROMPT[:5], SamplingParams(temperature=0.0, logprobs=2, grammar=regex_grammar("abc+"), **common)),
        GenerationRequest("plain", PROMPT, SamplingParams(temperature=0.0, ignore_eos=True, **common)),
        GenerationRequest("sigma", PROMPT[:8], SamplingParams(temperature=1.0, top_n_sigma=1.5, ignore_eos=True, **common)),
    ]
    found, expected = run(build("cuda"), asked), run(build("cpu"), asked)
    for got, wanted in zip(found, expected, strict=True):
        assert got[0][-1].error is None
        assert [token for delta in got[0] for token in delta.token_ids] == [token for delta in wanted[0] for token in delta.token_ids]


def test_rows_that_end_early_leave_nothing_behind(build):
    """Sequences that end at a token of their own, in steps that others share, while the step after is under way."""
    asked = [
        GenerationRequest(
            f"{index}", PROMPT[: 3 + index], SamplingParams(temperature=0.0, max_tokens=24, stop_token_ids=list(range(index * 16, 128)))
        )
        for index in range(6)
    ]
    found, expected = run(build("cuda"), asked), run(build("cpu"), asked)
    for got, wanted in zip(found, expected, strict=True):
        assert [token for delta in got[0] for token in delta.token_ids] == [token for delta in wanted[0] for token in delta.token_ids]
