"""A model that computes nothing: its pace, its ends, its refusals, over an `AsyncEngine`."""

from __future__ import annotations

import asyncio
import time

import pytest

from octavo.assemble import build_engine
from octavo.config import EngineConfig
from octavo.engine import AsyncEngine
from octavo.engine.synthetic_core import SyntheticModel
from octavo.errors import ConfigError, InvalidRequestError
from octavo.types import Delta, FinishReason, GenerationRequest, SamplingParams


def request(name: str, **params: object) -> GenerationRequest:
    return GenerationRequest(name, [1, 2, 3], SamplingParams(**params))


async def read(engine: AsyncEngine, asked: GenerationRequest) -> list[Delta]:
    async with await engine.submit(asked) as stream:
        return [delta async for delta in stream]


async def started(name: str = "synthetic:tokens_per_s=1000", **settings: object) -> AsyncEngine:
    engine = build_engine(EngineConfig.of(model=name, **settings))
    await engine.start()
    return engine


async def test_each_choice_has_its_tokens_and_ends_by_length():
    engine = await started()
    deltas = await read(engine, request("a", max_tokens=12, n=2))
    texts = ["".join(delta.text for delta in deltas if delta.index == index) for index in range(2)]
    assert texts[0].startswith("The quick brown fox jumps ") and texts[1].startswith("quick brown fox ")
    assert [sum(len(delta.token_ids) for delta in deltas if delta.index == index) for index in range(2)] == [12, 12]
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == [FinishReason.LENGTH] * 2
    assert engine.stats().num_running == 0 and engine.stats().generation_tokens == 24
    await engine.close()


async def test_a_loop_that_was_busy_gets_the_tokens_of_that_time_at_once():
    engine = await started("synthetic:tokens_per_s=100")
    async with await engine.submit(request("a", max_tokens=40)) as stream:
        first = await anext(stream)
        time.sleep(0.2)  # noqa: ASYNC251 - the loop is to be busy
        second = await anext(stream)
    assert len(first.token_ids) < 10 <= len(second.token_ids)
    await engine.close()


async def test_who_waits_runs_when_there_is_room_and_an_abort_makes_room():
    engine = await started("synthetic:tokens_per_s=1000", max_num_seqs=1)
    endless = await engine.submit(request("a", max_tokens=30_000))
    waiting = asyncio.create_task(read(engine, request("b", max_tokens=3)))
    await anext(endless)
    await asyncio.sleep(0.02)
    assert engine.stats().num_waiting == 1 and not waiting.done()
    endless.abort()
    assert (await asyncio.wait_for(waiting, 10))[-1].finish_reason is FinishReason.LENGTH
    await engine.close()


async def test_what_it_cannot_do_is_refused():
    engine = await started()
    with pytest.raises(InvalidRequestError, match="log-probabilities"):
        await engine.submit(request("a", logprobs=1))
    await engine.close()


@pytest.mark.parametrize("name", ["synthetic:tokens_per_s=0", "synthetic:speed=3", "synthetic:tokens_per_s", "synthetic:max_model_len=1.5"])
def test_a_name_that_makes_no_sense_shows_the_form(name: str):
    with pytest.raises(ConfigError, match="tokens_per_s=100,max_model_len=32768"):
        SyntheticModel.parse(name)
    assert SyntheticModel.parse("synthetic:") == SyntheticModel()
