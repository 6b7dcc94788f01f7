"""The engine's loop body: schedule, run, hand out. Everything that is one step ahead lives in `EngineCore.step`."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress

from octavo.engine.choice import Choice
from octavo.engine.live_request import LiveRequest
from octavo.engine.stats import EngineCounters, EngineObserver, EngineStats
from octavo.engine.step_pace import StepPace
from octavo.engine.watchdog import Fault, Watchdog
from octavo.log import get_logger
from octavo.scheduler import Scheduler, Sequence, SequenceOutput
from octavo.step import Runner, StepPlan, StepResult
from octavo.types import Delta, FinishReason, KvBlocks

__all__ = ["EngineCore"]

_log = get_logger(__name__)


class EngineCore:
    """Drives a scheduler and a runner for the requests that live. All calls on one event loop.

    Args:
        pace: chooses each step's token budget; None: always the scheduler's own.
        clock: seconds from an arbitrary origin; only differences are used.
        watchdog: told of each result; asked by `find_fault`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        *,
        pace: StepPace | None = None,
        observers: Iterable[EngineObserver] = (),
        clock: Callable[[], float] = time.perf_counter,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self._runner: Runner | None = runner
        self._watchdog = watchdog or Watchdog()
        self._pace = pace
        self._observers = list(observers)
        self._live: dict[str, LiveRequest] = {}
        self._num_open = 0  # choices that have not ended
        self._in_flight: deque[tuple[StepPlan, Future[StepResult]]] = deque()
        self._counters = EngineCounters()

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._in_flight) or self.scheduler.has_work

    @property
    def num_waiting_choices(self) -> int:
        """Choices that have not ended and do not run."""
        return self._num_open - self.scheduler.num_running

    async def step(self) -> None:
        """Submit the next step while the ones before run; once the runner has as many as keep it busy, hand out what the oldest made.

        Raises whatever broke the runner; the core can serve nothing after that.
        """
        assert self._runner is not None
        plan = self.scheduler.schedule(self._token_budget())
        if plan is not None:
            self._in_flight.append((plan, self._runner.submit(plan)))
        if self._in_flight and (plan is None or len(self._in_flight) >= self._runner.depth):
            ran, future = self._in_flight[0]
            result = await _result_of(future)
            self._in_flight.popleft()
            self._watchdog.took(result.run_ms)
            if self._pace is not None:
                self._pace.observe(ran, result)
            self._hand_out(self.scheduler.update(result))

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._live

    def add_observer(self, observer: EngineObserver) -> None:
        """Tell `observer` of everything that happens from now on."""
        self._observers.append(observer)

    def add(self, live: LiveRequest) -> None:
        """Take charge of a request that the scheduler has queued."""
        self._live[live.request.request_id] = live
        self._num_open += live.num_open
        for observer in self._observers:
            observer.queued(live.request)

    def end(self, request_id: str, reason: FinishReason, error: str | None = None) -> None:
        """End the unfinished choices of a request now; nothing happens where it has ended already."""
        live = self._live.get(request_id)
        if live is None:
            return
        for sequence in live.group.sequences:
            choice = live.choice(sequence.index)
            if choice.finish_reason is None:
                self._put(live, sequence, choice.end(reason, live.num_cached_tokens, error))

    def end_all(self, reason: FinishReason, error: str | None = None) -> None:
        """End every request now."""
        for request_id in list(self._live):
            self.end(request_id, reason, error)

    def stats(self) -> EngineStats:
        """A snapshot."""
        return EngineStats(
            num_running=self.scheduler.num_running,
            num_waiting=self.scheduler.num_waiting,
            kv_usage=self.scheduler.kv_usage,
            prompt_tokens=self._counters.prompt_tokens,
            cached_prompt_tokens=self._counters.cached_prompt_tokens,
            generation_tokens=self._counters.generation_tokens,
            finished=dict(self._counters.finished),
            preemptions=self.scheduler.num_preemptions,
            steps=self._counters.steps,
        )

    def kv_blocks(self) -> list[KvBlocks]:
        """The state of every KV block of each cache group. O(number of blocks)."""
        return self.scheduler.kv_blocks()

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
        """Close a broken runner and forget it and its step, so that its memory is free. Blocks; no request may live."""
        assert not self._live
        self._in_flight.clear()
        self.close()
        self._runner = None

    def replace(self, scheduler: Scheduler, runner: Runner) -> None:
        """Go on with new ones. Counters and observers stay."""
        scheduler.num_preemptions = self.scheduler.num_preemptions
        self.scheduler, self._runner = scheduler, runner

    def _token_budget(self) -> int | None:
        return None if self._pace is None else self._pace.token_budget(self.scheduler.num_decoding)

    # ---- results to readers ---------------------------------------------------------------------------------------------------

    def _hand_out(self, outputs: list[SequenceOutput]) -> None:
        self._counters.steps += 1
        now_s = self.clock()
        for output in outputs:
            if output.sequence.finished:  # by an error of a sibling, earlier in this loop
                continue
            live = self._live[output.sequence.group.request_id]
            try:
                self._take(live, output, now_s)
            except Exception as error:  # a fault in one request ends that request
                request_id = live.request.request_id
                _log.exception("request %s failed while its output was processed", request_id)
                self.end(request_id, FinishReason.ERROR, f"internal error while processing the output: {error}")

    def _take(self, live: LiveRequest, output: SequenceOutput, now_s: float) -> None:
        if output.error is not None:
            self.end(live.request.request_id, FinishReason.ERROR, output.error)
            return
        delta = live.take(output)
        if delta is not None:
            self._count_tokens(live, live.choice(delta.index), len(delta.token_ids), now_s)
            self._put(live, output.sequence, delta)

    def _put(self, live: LiveRequest, sequence: Sequence, delta: Delta) -> None:
        live.stream.put(delta)
        if delta.finish_reason is None:
            return
        self.scheduler.finish(sequence)
        self._counters.finished[delta.finish_reason] += 1
        self._num_open -= 1
        live.num_open -= 1
        if live.num_open == 0:
            del self._live[live.request.request_id]
            summary = live.summary(self.clock())
            for observer in self._observers:
                observer.finished(live.request, summary)

    def _count_tokens(self, live: LiveRequest, choice: Choice, num_tokens: int, now_s: float) -> None:
        previous_s, choice.last_token_s = choice.last_token_s, now_s
        self._counters.generation_tokens += num_tokens
        if live.first_token_s is None:
            live.first_token_s = now_s
            self._counters.prompt_tokens += len(live.request.prompt_token_ids)
            self._counters.cached_prompt_tokens += live.num_cached_tokens
            for observer in self._observers:
                observer.first_token(live.request, now_s - live.arrival_s)
        elif previous_s is not None:
            for observer in self._observers:
                observer.inter_token(live.request, now_s - previous_s)


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
