"""Events and their times, with a clock that the test turns."""

from __future__ import annotations

import asyncio
import logging

from fakes.fake_engine import ask, collect
from fakes.fake_runner import FakeRunner
from octavo.engine import EngineStats, RequestSummary
from octavo.engine.stats_log import throughput_line
from octavo.types import FinishReason


class Clock:
    """Advances by one second whenever a step is submitted."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class TickingRunner(FakeRunner):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def submit(self, plan):
        self._clock.now_s += 1.0
        return super().submit(plan)


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple] = []

    def queued(self, request) -> None:
        self.events.append(("queued", request.request_id))

    def first_token(self, request, ttft_s) -> None:
        self.events.append(("first_token", ttft_s))

    def inter_token(self, request, itl_s) -> None:
        self.events.append(("inter_token", itl_s))

    def finished(self, request, summary) -> None:
        self.events.append(("finished", summary))


async def test_events_of_a_request_in_order(start_engine):
    clock, recorder = Clock(), Recorder()
    engine = await start_engine(TickingRunner(clock), clock=clock, observers=[recorder])
    await collect(engine, ask(prompt="hello", max_tokens=3))
    kinds = [event[0] for event in recorder.events]
    assert kinds == ["queued", "first_token", "inter_token", "inter_token", "finished"]
    ttft_s = recorder.events[1][1]
    assert ttft_s == 2.0  # its own step, and the next one that is submitted before the result is taken
    assert recorder.events[2][1] == 1.0
    assert recorder.events[-1][1] == RequestSummary((FinishReason.LENGTH,), 6, 0, 3, ttft_s, 3.0)


async def test_a_request_says_how_long_it_waited_for_its_first_step(start_engine):
    clock, recorder = Clock(), Recorder()
    engine = await start_engine(TickingRunner(clock), clock=clock, observers=[recorder], max_num_seqs=1)
    await asyncio.gather(collect(engine, ask("a", max_tokens=5)), collect(engine, ask("b", max_tokens=1)))
    first, second = [event[1] for event in recorder.events if event[0] == "finished"]
    assert first.queue_s == 0.0
    assert 4.0 <= second.queue_s <= second.ttft_s <= second.e2e_s


async def test_an_aborted_request_has_a_summary_too(start_engine):
    recorder = Recorder()
    engine = await start_engine()
    engine.add_observer(recorder)
    stream = await engine.submit(ask(n=2))
    stream.abort()
    kind, summary = recorder.events[-1]
    assert kind == "finished"
    assert (summary.finish_reasons, summary.ttft_s) == ((FinishReason.ABORT,) * 2, None)


async def test_throughput_is_logged_while_something_happens(start_engine, caplog):
    caplog.set_level(logging.INFO, logger="octavo")
    engine = await start_engine(log_stats_s=0.01)
    await asyncio.sleep(0.03)
    assert not caplog.records
    await collect(engine, ask(max_tokens=4))
    await asyncio.sleep(0.03)
    assert caplog.records[0].getMessage().startswith("prompt ")


def test_a_line_of_throughput():
    before = EngineStats(0, 0, 0.0, 100, 0, 50, {}, 1, 10)
    now = EngineStats(3, 2, 0.25, 300, 50, 80, {}, 2, 20)
    line = "prompt 100.0 tok/s (25% cached), output 15.0 tok/s, running 3, waiting 2, KV cache 25%, preemptions 1"
    assert throughput_line(before, now, interval_s=2.0) == line
