"""What readers do: read slowly, stop reading, abort, come late."""

from __future__ import annotations

import asyncio

import pytest

from fakes.fake_engine import ask, collect, text_of
from fakes.fake_runner import FakeRunner
from octavo.engine import RequestStream
from octavo.types import Delta, FinishReason, SamplingParams, TokenLogprobs


def stream_of(n: int = 1, **params) -> RequestStream:
    return RequestStream(ask(n=n, **params), on_abort=lambda: None)


async def test_a_slow_reader_gets_one_merged_delta_per_choice():
    stream = stream_of(n=2)
    entries = [TokenLogprobs(token_id, -1.0, 1) for token_id in range(3)]
    stream.put(Delta(0, "a", [0], [entries[0]], prompt_logprobs=[None]))
    stream.put(Delta(1, "x", [9], []))
    stream.put(Delta(0, "b", [1], [entries[1]], num_cached_tokens=4))
    stream.put(Delta(0, "c", [2], [entries[2]], FinishReason.STOP, stop_reason="c", num_cached_tokens=4))
    merged = await anext(stream)
    assert merged == Delta(0, "abc", [0, 1, 2], entries, FinishReason.STOP, "c", 4, [None])
    assert await anext(stream) == Delta(1, "x", [9], [])
    stream.put(Delta(1, finish_reason=FinishReason.LENGTH))
    assert [delta.finish_reason async for delta in stream] == [FinishReason.LENGTH]


async def test_a_delta_after_the_end_of_its_choice_is_a_bug():
    stream = stream_of(n=2)
    stream.put(Delta(0, finish_reason=FinishReason.STOP))
    with pytest.raises(AssertionError, match="after its end"):
        stream.put(Delta(0, "more"))


async def test_what_a_reader_leaves_is_merged_while_the_engine_goes_on(start_engine):
    engine = await start_engine()
    stream = await engine.submit(ask(max_tokens=50, n=2))
    await collect(engine, ask("later and longer", max_tokens=60))
    deltas = [delta async for delta in stream]
    assert [(delta.index, len(delta.token_ids), delta.finish_reason) for delta in deltas] == [
        (0, 50, FinishReason.LENGTH),
        (1, 50, FinishReason.LENGTH),
    ]


async def test_abort_ends_every_choice_and_frees_the_blocks(start_engine):
    engine = await start_engine()
    stream = await engine.submit(ask(max_tokens=None, n=3))
    first = await anext(stream)
    assert engine.stats().kv_usage > 0
    stream.abort()
    stream.abort()
    rest = [delta async for delta in stream]
    assert first.finish_reason is None
    assert sorted(delta.index for delta in rest if delta.finish_reason is FinishReason.ABORT) == [0, 1, 2]
    assert engine.stats().kv_usage == 0 and engine.stats().num_running == 0


async def test_an_aborted_choice_gives_the_text_that_was_held_back(start_engine):
    engine = await start_engine(FakeRunner(script=[*b"hold EN"], delay_s=0.001))
    stream = await engine.submit(ask(max_tokens=None, stop=("ENDLESS",)))
    deltas = []
    async for delta in stream:
        deltas.append(delta)
        if sum(len(each.token_ids) for each in deltas) >= 7:
            stream.abort()
    assert text_of(deltas).startswith("hold EN")


async def test_leaving_the_block_aborts_what_is_unfinished(start_engine):
    engine = await start_engine()
    with pytest.raises(ConnectionResetError):
        async with await engine.submit(ask(max_tokens=None)) as stream:
            async for _ in stream:
                raise ConnectionResetError
    assert engine.stats().finished == {FinishReason.ABORT: 1}


async def test_abort_before_the_first_step_and_while_waiting(start_engine):
    engine = await start_engine(max_num_seqs=1)
    running = await engine.submit(ask("running", max_tokens=30))
    waiting = await engine.submit(ask("waiting", max_tokens=30, n=2))
    never_ran = await engine.submit(ask("never ran", max_tokens=30))
    never_ran.abort()
    await anext(running)
    waiting.abort()
    assert [delta.finish_reason async for delta in waiting] == [FinishReason.ABORT] * 2
    assert [delta.finish_reason async for delta in never_ran] == [FinishReason.ABORT]
    assert [delta async for delta in running][-1].finish_reason is FinishReason.LENGTH


async def test_abort_of_a_finished_request_does_not_touch_its_successor(start_engine):
    engine = await start_engine()
    old = await engine.submit(ask("same", max_tokens=1))
    assert [delta async for delta in old]
    new = await engine.submit(ask("same", max_tokens=5))
    old.abort()
    assert [delta async for delta in new][-1].finish_reason is FinishReason.LENGTH


async def test_two_thousand_requests_with_aborts_leave_nothing(start_engine):
    engine = await start_engine(num_blocks=40, max_waiting=5000)

    async def use(index: int) -> None:
        request = ask(f"r{index}", prompt="shared beginning " + str(index), max_tokens=1 + index % 9, n=1 + (index % 10 == 0))
        async with await engine.submit(request) as stream:
            async for _ in stream:
                if index % 5 == 0:
                    return

    await asyncio.gather(*(use(index) for index in range(2000)))
    stats = engine.stats()
    assert sum(stats.finished.values()) == 2200 and stats.finished[FinishReason.ABORT] > 100
    assert (stats.kv_usage, stats.num_running, stats.num_waiting) == (0, 0, 0)


async def test_an_idle_engine_sleeps_and_wakes(start_engine):
    runner = FakeRunner()
    engine = await start_engine(runner)
    await collect(engine, ask(max_tokens=2))
    await asyncio.sleep(0.01)
    num_steps = len(runner.plans)
    await asyncio.sleep(0.02)
    assert len(runner.plans) == num_steps and not runner.rows  # ended rows were delivered, then silence
    assert await collect(engine, ask(max_tokens=2))


def test_sampling_params_reach_the_stream():
    assert stream_of(n=3).request.params == SamplingParams(n=3)
