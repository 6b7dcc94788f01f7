"""Faults: one in a request ends that request; one in the runner ends the engine, and everybody is told."""

from __future__ import annotations

import asyncio

import pytest

from fakes.fake_engine import ask, collect, fake_engine
from fakes.fake_runner import FakeRunner, fake_output
from fakes.fake_tokenizer import FakeTokenizer
from octavo.errors import EngineDeadError
from octavo.types import FinishReason


async def test_a_broken_runner_ends_every_request_with_an_error(start_engine):
    runner = FakeRunner(fail_at_step=4)
    engine = await start_engine(runner, max_num_seqs=2)
    answers = await asyncio.gather(*(collect(engine, ask(name, max_tokens=20, n=2)) for name in "abc"))
    for deltas in answers:
        last = {delta.index: delta for delta in deltas}
        assert [last[index].finish_reason for index in (0, 1)] == [FinishReason.ERROR] * 2
        assert "on fire" in last[0].error
    assert "on fire" in engine.dead
    with pytest.raises(EngineDeadError, match="on fire"):
        await engine.submit(ask("late"))
    await engine.close()
    assert runner.closed


async def test_a_runner_that_refuses_a_plan_is_broken_too(start_engine):
    runner = FakeRunner()
    runner.submit = lambda plan: (_ for _ in ()).throw(OSError("pipe closed"))
    engine = await start_engine(runner)
    [delta] = await collect(engine, ask())
    assert delta.finish_reason is FinishReason.ERROR and "pipe closed" in engine.dead


async def test_a_row_error_ends_only_its_request(start_engine):
    prompt = FakeTokenizer().encode("hello")
    bad = fake_output(prompt, 3)[2]
    engine = await start_engine(FakeRunner(error_token_id=bad))
    broken, healthy = await asyncio.gather(
        collect(engine, ask("a", prompt="hello", max_tokens=8, temperature=0.0, n=2)),
        collect(engine, ask("b", prompt="other", max_tokens=3, temperature=0.0)),
    )
    assert {delta.error for delta in broken if delta.finish_reason} == {"the logits are not finite"}
    assert sum(delta.finish_reason is FinishReason.ERROR for delta in broken) == 2
    assert healthy[-1].finish_reason is FinishReason.LENGTH and engine.dead is None


async def test_a_fault_in_output_processing_ends_only_its_request(start_engine):
    engine = await start_engine()

    class Broken:
        def push(self, token_ids):
            raise ZeroDivisionError("bad piece")

        def finish(self):
            raise ZeroDivisionError("bad piece")

    engine.tokenizer.detokenizer = lambda skip_special_tokens: Broken()
    [delta] = await collect(engine, ask("a", max_tokens=3))
    assert delta.finish_reason is FinishReason.ERROR and "bad piece" in delta.error
    del engine.tokenizer.detokenizer
    assert (await collect(engine, ask("b", max_tokens=3)))[-1].finish_reason is FinishReason.LENGTH


async def test_an_engine_that_was_never_started_closes():
    engine = fake_engine()
    stream = await engine.submit(ask())
    await engine.close()
    await engine.close()
    assert [delta.finish_reason async for delta in stream] == [FinishReason.ABORT]
