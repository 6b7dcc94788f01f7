"""Notices a runner that will never answer: its thread has ended, or a step makes no progress."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Fault", "Rebuilds", "Watchdog"]

TICK_S = 1.0
_STEPS = 20  # times the longest recent step
_RECENT = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an engine stopped.

    Attributes:
        reason: what clients and the log are told.
        lost: whether a thread or device may still be busy with a step, so that nothing new can be built in this process.
    """

    reason: str
    lost: bool = False


class Watchdog:
    """Counts the time that a step waits for its result, as far as this process was given time.

    A look counts at most twice the time between two looks: a laptop that slept, a stopped process or one that got no processor
    does not make a step late.

    Args:
        least_s: a step is never given up before it has had so many seconds.
        clock: seconds, as `time.monotonic`.
    """

    def __init__(self, least_s: float = 30.0, tick_s: float = TICK_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.tick_s = tick_s
        self._least_s = least_s
        self._clock = clock
        self._run_ms: deque[float] = deque(maxlen=_RECENT)
        self._num_results = self._num_seen = 0
        self._looked_s = clock()
        self._waited_s = 0.0

    def took(self, run_ms: float) -> None:
        """A result came, of a step that lasted so long."""
        self._run_ms.append(run_ms)
        self._num_results += 1

    def look(self, *, alive: bool, in_flight: bool) -> Fault | None:
        """Say what is wrong, if anything: whether the runner's thread lives, whether a result is due. Once every `tick_s`."""
        now_s = self._clock()
        granted_s, self._looked_s = min(now_s - self._looked_s, 2 * self.tick_s), now_s
        if not alive:
            return Fault("the runner's thread has ended")
        if not in_flight or self._num_seen != self._num_results:
            self._num_seen, self._waited_s = self._num_results, 0.0
            return None
        self._waited_s += granted_s
        if self._waited_s <= max(self._least_s, _STEPS * max(self._run_ms, default=0.0) / 1e3):
            return None
        return Fault(f"a step has made no progress for {self._waited_s:.0f} s", lost=True)


class Rebuilds:
    """How often an engine was built again; a fault that keeps coming back is not worth another try."""

    def __init__(self, most: int = 3, within_s: float = 600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._within_s = within_s
        self._clock = clock
        self._times_s: deque[float] = deque(maxlen=most)

    def permit(self) -> bool:
        """Whether one more is allowed; counts it."""
        now_s = self._clock()
        if len(self._times_s) == self._times_s.maxlen and now_s - self._times_s[0] < self._within_s:
            return False
        self._times_s.append(now_s)
        self.count += 1
        return True
