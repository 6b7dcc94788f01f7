"""`octavo serve` on a GPU, with a record of where its steps' time went.

    python tools/bench/gpu/serve_profile.py profile.json MODEL --device cuda ...      # flags of `octavo serve`; ends with SIGTERM

Steps with less than a second between them form a period. For each, the file has: steps, seconds, mean sequences and tokens a step, the
share of the time in which the device had no step, and a step's milliseconds in the parts of the host's work: wall clock, and processor
time of the thread, whose difference is waiting (for the interpreter's lock, in parts that wait for nothing else).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from octavo.cli.main import main
from octavo.engine.async_engine import AsyncEngine
from octavo.engine.engine_core import EngineCore
from octavo.runner.cuda_executor import CudaExecutor
from octavo.scheduler import Scheduler

_PAUSE_S = 1.0

steps: list[tuple[float, float, int, int]] = []  # when a step was collected, its device time, sequences, tokens
spent: dict[str, list[tuple[float, float, float]]] = {}  # part -> (when it began, wall clock, processor time), seconds


def timed(owner: type, method: str, part: str) -> None:
    """Have every call of a method recorded."""
    original: Callable[..., Any] = getattr(owner, method)
    record = spent.setdefault(part, [])

    def call(*args: Any, **kwargs: Any) -> Any:
        began, processor = time.perf_counter(), time.thread_time()
        try:
            return original(*args, **kwargs)
        finally:
            record.append((began, time.perf_counter() - began, time.thread_time() - processor))

    setattr(owner, method, call)


def count_steps() -> None:
    """Have every step's end recorded."""
    collect, launch = CudaExecutor.collect, CudaExecutor.launch
    sizes: dict[int, tuple[int, int]] = {}

    def launched(self: CudaExecutor, plan: Any) -> None:
        sizes[plan.step_id] = len(plan.rows), sum(plan.num_scheduled_tokens)
        launch(self, plan)

    def collected(self: CudaExecutor) -> Any:
        result = collect(self)
        steps.append((time.perf_counter(), result.run_ms / 1e3, *sizes.pop(result.step_id)))
        return result

    CudaExecutor.launch, CudaExecutor.collect = launched, collected  # type: ignore[method-assign]


def periods() -> list[dict[str, Any]]:
    """What the steps of each period took."""
    found: list[dict[str, Any]] = []
    begin = 0
    for end in range(1, len(steps) + 1):
        if end < len(steps) and steps[end][0] - steps[end - 1][0] < _PAUSE_S:
            continue
        part = steps[begin:end]
        began, ended = part[0][0] - part[0][1], part[-1][0]
        begin = end
        seconds, count = ended - began, len(part)
        host = {
            name: [round(1e3 * sum(one[index] for one in calls if began <= one[0] <= ended) / count, 3) for index in (1, 2)]
            for name, calls in spent.items()
        }
        found.append(
            {
                "steps": count,
                "seconds": round(seconds, 3),
                "sequences": round(sum(step[2] for step in part) / count, 1),
                "tokens": round(sum(step[3] for step in part) / count, 1),
                "device_idle": round(1 - sum(step[1] for step in part) / seconds, 4),
                "device_ms_a_step": round(1e3 * sum(step[1] for step in part) / count, 3),
                "host_ms_a_step_wall_and_processor": host,
            }
        )
    return found


if __name__ == "__main__":
    timed(Scheduler, "schedule", "schedule")
    timed(Scheduler, "update", "update")
    timed(EngineCore, "add", "add")
    timed(AsyncEngine, "_take", "hand out")
    timed(CudaExecutor, "launch", "launch")
    timed(CudaExecutor, "collect", "collect")
    count_steps()
    try:
        code = main(["serve", *sys.argv[2:]])
    finally:
        Path(sys.argv[1]).write_text(json.dumps(periods(), indent=1))
    sys.exit(code)
