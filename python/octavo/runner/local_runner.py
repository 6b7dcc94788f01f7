"""The runner of one process: a thread that launches plans on an executor and collects their results, in order.

Only this thread touches the executor; the engine's thread sees futures. The kernels release the GIL, so the event loop goes on while
a step computes.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from octavo.log import get_logger
from octavo.runner.executor import Executor
from octavo.step import Command, StepPlan, StepResult

__all__ = ["LocalRunner"]

log = get_logger(__name__)

_EXIT_S = 10.0  # most that the interpreter's exit waits for a step
_POLL_S = 0.0002  # between two looks at a device that computes while it could take one more step


class LocalRunner:
    """Implements `step.Runner` over one executor.

    Attributes:
        depth: see `Runner.depth`: as many steps as the executor has launched, and at least one running and one waiting.
    """

    def __init__(self, executor: Executor) -> None:
        self.depth = max(2, executor.depth)
        self._executor = executor
        self._queue: SimpleQueue[tuple[StepPlan | Command, Future[Any]] | None] = SimpleQueue()
        self._launched: deque[tuple[StepPlan, Future[StepResult]]] = deque()
        self._prepared = False  # the executor has nothing left to do while it is idle
        self._thread = threading.Thread(target=self._serve, name="octavo-runner", daemon=True)
        self._thread.start()
        atexit.register(self.close, _EXIT_S)  # a thread that comes out of a kernel while the interpreter goes would abort the process

    @property
    def alive(self) -> bool:
        """See `Runner.alive`."""
        return self._thread.is_alive()

    def submit(self, plan: StepPlan) -> Future[StepResult]:
        """See `Runner.submit`."""
        future: Future[StepResult] = Future()
        self._queue.put((plan, future))
        return future

    def call(self, command: Command) -> Future[Any]:
        """See `Runner.call`."""
        future: Future[Any] = Future()
        self._queue.put((command, future))
        return future

    def close(self, timeout_s: float | None = None) -> None:
        """See `Runner.close`; a step that hangs is left behind after `timeout_s`."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        atexit.unregister(self.close)

    def _serve(self) -> None:
        self._executor.bind_thread()
        while True:
            while len(self._launched) >= self._executor.depth:
                self._collect()
            job = self._next_job()
            if job is None:
                break
            order, future = job
            if isinstance(order, StepPlan):
                self._launch(order, future)
            else:
                self._call(order, future)
        self._collect_all()
        self._executor.close()

    def _next_job(self) -> tuple[StepPlan | Command, Future[Any]] | None:
        """Wait for a job, and meanwhile for steps under way: a step that comes late is launched while the one before it runs."""
        while self._launched and self._queue.empty():
            if self._executor.finished():
                self._collect()
                continue
            with suppress(Empty):
                return self._queue.get(timeout=_POLL_S)
        while self._queue.empty() and self._idle():
            pass
        return self._queue.get()

    def _idle(self) -> bool:
        """Let the executor prepare something while nobody waits; a fault ends that, and nothing else."""
        if self._prepared:
            return False
        try:
            self._prepared = not self._executor.idle()
        except Exception:
            log.exception("preparing steps failed")
            self._prepared = True
        return not self._prepared

    def _launch(self, plan: StepPlan, future: Future[StepResult]) -> None:
        try:
            self._executor.launch(plan)
        except Exception as error:
            self._collect_all()
            log.exception("step %d failed", plan.step_id)
            future.set_exception(error)
        else:
            self._launched.append((plan, future))

    def _call(self, command: Command, future: Future[Any]) -> None:
        self._collect_all()
        try:
            future.set_result(self._executor.call(command))
        except Exception as error:
            log.exception("%s failed", command)
            future.set_exception(error)

    def _collect_all(self) -> None:
        while self._launched:
            self._collect()

    def _collect(self) -> None:
        plan, future = self._launched.popleft()
        try:
            result = self._executor.collect()
        except Exception as error:
            log.exception("step %d failed", plan.step_id)
            future.set_exception(error)
        else:
            future.set_result(result)
