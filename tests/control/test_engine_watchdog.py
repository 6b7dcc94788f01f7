"""A runner that will never answer: noticed, told, replaced where that is safe, and the end of the process where it is not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from fakes.fake_engine import ask, collect
from fakes.fake_runner import FakeRunner
from octavo.engine import AsyncEngine
from octavo.engine.watchdog import Rebuilds, Watchdog
from octavo.errors import EngineDeadError
from octavo.step import DeviceLostError
from octavo.types import FinishReason


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class StuckRunner(FakeRunner):
    """Takes plans and never answers."""

    alive = True

    def submit(self, plan):
        return Future()


class TerminatedRunner(StuckRunner):
    """The process gets SIGTERM while its step hangs. Once: a second one would end it at once."""

    terminated = False

    def submit(self, plan):
        if not self.terminated:
            self.terminated = True
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return super().submit(plan)


class DeadRunner(StuckRunner):
    alive = False


class LostRunner(FakeRunner):
    def submit(self, plan):
        future = Future()
        future.set_exception(DeviceLostError("an illegal address"))
        return future


def looks(watchdog: Watchdog, clock: Clock, count: int, step_s: float = 1.0) -> list:
    found = []
    for _ in range(count):
        clock.now += step_s
        found.append(watchdog.look(alive=True, in_flight=True))
    return found


def test_a_step_has_thirty_seconds_or_twenty_times_the_longest_recent_one():
    clock = Clock()
    watchdog = Watchdog(clock=clock)
    *patient, fault = looks(watchdog, clock, 31)
    assert patient == [None] * 30 and fault.lost and "no progress" in fault.reason
    slow = Watchdog(clock=clock)
    slow.took(5_000.0)
    assert looks(slow, clock, 100) == [None] * 100
    assert looks(slow, clock, 2)[-1] is not None


def test_results_and_idle_times_begin_the_count_again():
    clock = Clock()
    watchdog = Watchdog(clock=clock)
    for _ in range(3):
        assert looks(watchdog, clock, 25) == [None] * 25
        watchdog.took(10.0)
    assert looks(watchdog, clock, 25) == [None] * 25
    assert watchdog.look(alive=True, in_flight=False) is None
    assert looks(watchdog, clock, 30) == [None] * 30


def test_a_machine_that_slept_kills_nothing():
    clock = Clock()
    assert looks(Watchdog(clock=clock), clock, 10, step_s=3600.0) == [None] * 10


def test_what_keeps_coming_back_is_given_up():
    clock = Clock()
    rebuilds = Rebuilds(most=3, within_s=600, clock=clock)
    assert [rebuilds.permit() for _ in range(4)] == [True, True, True, False]
    clock.now = 601.0
    assert rebuilds.permit() and rebuilds.count == 4


async def _alive(engine: AsyncEngine) -> None:
    while engine.dead is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("broken", [lambda: FakeRunner(fail_at_step=4), DeadRunner], ids=["a step that fails", "a thread that ends"])
async def test_an_engine_is_built_again_and_serves(start_engine, broken):
    made = []

    def new_runner() -> FakeRunner:
        made.append(FakeRunner())
        return made[-1]

    engine = await start_engine(broken(), new_runner=new_runner, watchdog=Watchdog(tick_s=0.01))
    deltas = await collect(engine, ask(max_tokens=20))
    assert deltas[-1].finish_reason is FinishReason.ERROR and engine.dead is not None
    await asyncio.wait_for(_alive(engine), 20)
    assert (await collect(engine, ask(max_tokens=20)))[-1].finish_reason is FinishReason.LENGTH
    assert len(made) == engine.stats().rebuilds == 1
    assert not engine.died


@pytest.mark.parametrize("runner", [StuckRunner, LostRunner], ids=["hung", "lost"])
async def test_what_cannot_be_built_again_ends_for_good(start_engine, runner):
    engine = await start_engine(runner(), new_runner=FakeRunner, watchdog=Watchdog(least_s=0.05, tick_s=0.01))
    deltas = await collect(engine, ask(max_tokens=20))
    assert deltas[-1].finish_reason is FinishReason.ERROR
    assert await asyncio.wait_for(engine.wait_dead(), 20) == engine.dead == deltas[-1].error
    assert engine.stats().rebuilds == 0
    with pytest.raises(EngineDeadError):
        await engine.submit(ask("late"))
    await asyncio.wait_for(engine.close(), 20)


SERVE = f"""
import sys, threading, urllib.error, urllib.request
sys.path[:0] = [{str(Path(__file__).parents[1])!r}, {str(Path(__file__).parent)!r}]
from test_engine_watchdog import StuckRunner, TerminatedRunner
from fakes.fake_engine import fake_engine
from octavo.config import ServerConfig
from octavo.engine import AsyncEngine
from octavo.engine.watchdog import Watchdog
from octavo.server.listen import listen
from octavo.server.serve import serve

config = ServerConfig(port=0, shutdown_s=0.2)
listener = listen(config)
url = f"http://127.0.0.1:{{listener.getsockname()[1]}}/v1/completions"
def post():
    call = urllib.request.Request(url, b'{{"prompt": "a"}}', {{"Content-Type": "application/json"}})
    try: urllib.request.urlopen(call)
    except (OSError, urllib.error.HTTPError): pass
threading.Thread(target=post, daemon=True).start()
"""


@pytest.mark.parametrize(
    "code",
    [
        "serve(fake_engine(StuckRunner(), watchdog=Watchdog(least_s=0.2, tick_s=0.05)), config, [listener])",
        "serve(fake_engine(TerminatedRunner()), config, [listener])",
    ],
    ids=["noticed", "SIGTERM"],
)
def test_a_server_whose_step_hangs_ends_with_exit_code_1(code: str):
    done = subprocess.run([sys.executable, "-c", SERVE + code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
