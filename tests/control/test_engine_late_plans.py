"""A step is planned shortly before the one that runs ends: requests that arrive meanwhile are part of it."""

from __future__ import annotations

import asyncio

from fakes.fake_engine import ask, collect
from fakes.fake_runner import FakeRunner
from octavo.engine import EngineCore, LatePlans, StepPace
from octavo.step import StepPlan, StepResult


def test_waiting_ends_before_the_step_does():
    plans = LatePlans(lead_ms=2.0)
    assert plans.wait_s(0.0) == 0.0  # nothing is known yet
    decoding = StepPlan(0, rows=[0, 1], num_scheduled_tokens=[1, 1])
    plans.observe(decoding, StepResult(0, [], [], [], run_ms=10.0), 5.0)
    assert abs(plans.wait_s(5.001) - 0.0065) < 1e-9
    assert plans.wait_s(5.007) == 0.0  # less than a timer can tell
    plans.observe(StepPlan(1, rows=[0], num_scheduled_tokens=[400]), StepResult(1, [], [], [], run_ms=90.0), 6.0)
    assert abs(plans.wait_s(6.0) - 0.0075) < 1e-9  # steps that only decode tell, which are shorter


async def test_who_arrives_while_a_step_runs_is_part_of_the_next_one(start_engine):
    runner = FakeRunner(vocab_size=200, delay_s=0.03, start_ms=30.0)
    engine = await start_engine(runner, num_blocks=200, max_model_len=400)
    core: EngineCore = engine.core.engine_core
    core._clock = asyncio.get_running_loop().time
    core._late_plans = LatePlans(lead_ms=5.0)
    stream = asyncio.create_task(collect(engine, ask("first", max_tokens=12, ignore_eos=True)))
    while len(runner.plans) < 5:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.005)  # the step after these runs
    submitted = len(runner.plans) + 1
    await collect(engine, ask("second", max_tokens=1))
    await stream
    first_with_second = next(plan.step_id for plan in runner.plans if plan.step_id > 0 and plan.started)
    assert first_with_second <= submitted + 1


def test_a_backlog_is_worked_off_in_large_steps():
    pace = StepPace(15.0, 8192, backlog_steps=8)
    assert pace.token_budget(40, 0) == 40 + 256 and pace.token_budget(40, 16000) == 40 + 2000 and pace.token_budget(0, 10) == 8192
    assert StepPace(15.0, 8192).token_budget(40, 16000) == 40 + 32
