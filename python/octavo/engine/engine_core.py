"""The engine's loop body: schedule, run, report. Everything that is one step ahead lives in `EngineCore.step`."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from octavo.engine.late_plans import LatePlans
from octavo.engine.stats import CoreStats
from octavo.engine.step_pace import StepPace
from octavo.engine.watchdog import Fault, Watchdog
from octavo.scheduler import CoreRequest, Scheduler, SequenceOutput
from octavo.step import Runner, StepPlan, StepResult

__all__ = ["EngineCore"]


class EngineCore:
    """Drives a scheduler and a runner. All calls on one event loop.

    Args:
        pace: chooses each step's token budget; None: always the scheduler's own.
        late_plans: says how late a step is planned while another one runs; None: at once.
        clock: seconds; says how long requests wait.
        watchdog: told of each result; asked by `find_fault`.

    Attributes:
        scheduler: takes and ends requests; another one after `replace`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        *,
        pace: StepPace | None = None,
        late_plans: LatePlans | None = None,
        watchdog: Watchdog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scheduler = scheduler
        self._runner: Runner | None = runner
        self._watchdog = watchdog or Watchdog()
        self._pace = pace
        self._late_plans = late_plans
        self._clock = clock
        self._in_flight: deque[tuple[StepPlan, Future[StepResult]]] = deque()
        self._num_steps = 0
        self._num_preemptions = 0  # of schedulers before this one

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._in_flight) or self.scheduler.has_work

    def add(self, request: CoreRequest) -> None:
        """Queue a request. Raises what `Scheduler.add` raises."""
        self.scheduler.add(request).arrived_s = self._clock()

    async def step(self) -> list[SequenceOutput]:
        """Submit the next step while the ones before run; once the runner has as many as keep it busy, return what the oldest made.

        Raises whatever broke the runner; the core can serve nothing after that.
        """
        assert self._runner is not None
        if self._late_plans is not None and self._in_flight and not self.scheduler.num_waiting:
            await asyncio.sleep(self._late_plans.wait_s(self._clock()))
        began = self._clock()
        plan = self.scheduler.schedule(self._token_budget())
        for group in self.scheduler.started:
            group.queue_s = self._clock() - group.arrived_s
        if plan is not None:
            if self._late_plans is not None:
                now = self._clock()
                self._late_plans.submitted(now - began, now, running=bool(self._in_flight))
            self._in_flight.append((plan, self._runner.submit(plan)))
        if not self._in_flight or (plan is not None and len(self._in_flight) < self._runner.depth):
            return []
        ran, future = self._in_flight[0]
        result = await _result_of(future)
        self._in_flight.popleft()
        self._num_steps += 1
        self._watchdog.took(result.run_ms)
        if self._pace is not None:
            self._pace.observe(ran, result)
        if self._late_plans is not None:
            self._late_plans.observe(ran, result, self._clock())
        return self.scheduler.update(result)

    def stats(self, rebuilds: int = 0) -> CoreStats:
        """A snapshot; `rebuilds` is for whoever replaced the runner to know."""
        return CoreStats(
            num_running=self.scheduler.num_running,
            num_waiting=self.scheduler.num_waiting,
            kv_usage=self.scheduler.kv_usage,
            preemptions=self._num_preemptions + self.scheduler.num_preemptions,
            steps=self._num_steps,
            rebuilds=rebuilds,
        )

    def close(self) -> None:
        """Close the runner: blocks until its queued steps are done."""
        if self._runner is not None:
            self._runner.close()

    @property
    def watch_s(self) -> float:
        """Seconds between two calls of `find_fault`."""
        return self._watchdog.tick_s

    def find_fault(self) -> Fault | None:
        """Why the runner will never answer, or None."""
        return self._watchdog.look(alive=self._runner is not None and self._runner.alive, in_flight=bool(self._in_flight))

    def drop_runner(self) -> None:
        """Close a broken runner and forget it and its steps, so that its memory is free. Blocks; no request may live."""
        self._in_flight.clear()
        self.close()
        self._runner = None

    def replace(self, scheduler: Scheduler, runner: Runner) -> None:
        """Go on with new ones. The counts stay."""
        self._num_preemptions += self.scheduler.num_preemptions
        self.scheduler, self._runner = scheduler, runner

    def _token_budget(self) -> int | None:
        if self._pace is None:
            return None
        return self._pace.token_budget(self.scheduler.num_decoding, self.scheduler.num_waiting_tokens if self._pace.counts_waiting else 0)


async def _result_of(future: Future[StepResult]) -> StepResult:
    """Wait on the event loop; being cancelled leaves the future alone. One wake-up fewer than `shield(wrap_future(...))`."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    def wake_loop(_: Future[StepResult]) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(wake)

    if future.done():
        await asyncio.sleep(0)  # readers get their turn however fast steps are
    else:
        future.add_done_callback(wake_loop)
        await done
    return future.result()
