"""When the next step is planned: as late as the step that runs allows, so that who arrives meanwhile is part of it.

A device that takes a step ahead is given step N + 1 while N runs. Planned as soon as N - 1 has ended, N + 1 is without all who arrive
during N: they wait for the rest of N and for all of N + 1. Planned shortly before N's end, it takes them along. N's end is guessed from
below: steps that only decode differ little from one to the next, and steps with prompts last longer. How shortly: planning grows with the
number of sequences, so it is measured, and what hands the plan to the device takes as long again, and as long once more when others run.
"""

from __future__ import annotations

from octavo.step import StepPlan, StepResult

__all__ = ["LatePlans"]

_SHARE = 0.95  # of the last step's time: the next one may be shorter
_PLANNINGS = 3
_LEAST_S = 1e-3  # timers of event loops are no finer


class LatePlans:
    """Tells how long to wait before a plan.

    Args:
        lead_ms: time for everything else between the end of the wait and the device.
    """

    def __init__(self, lead_ms: float) -> None:
        self._lead_s = lead_ms / 1e3
        self._planning_s = 0.0  # of the last plan
        self._decode_s = 0.0  # of the last step that only decoded
        self._began_s = 0.0  # when the step that runs began, at the latest

    def submitted(self, planning_s: float, now_s: float, running: bool) -> None:
        """A step was handed over whose plan took so long; it runs at once unless another one is `running`."""
        self._planning_s = planning_s
        if not running:
            self._began_s = now_s

    def observe(self, plan: StepPlan, result: StepResult, now_s: float) -> None:
        """Learn from a step whose result came just now; the next one began when it ended."""
        self._began_s = now_s
        if sum(plan.num_scheduled_tokens) == len(plan.rows):
            self._decode_s = result.run_ms / 1e3

    def wait_s(self, now_s: float) -> float:
        """Seconds to wait while a step runs; 0: none."""
        left_s = self._began_s + _SHARE * self._decode_s - self._lead_s - _PLANNINGS * self._planning_s - now_s
        return left_s if left_s >= _LEAST_S else 0.0
