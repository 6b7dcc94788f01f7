"""Measuring on a shared machine: a lock against other measurements, and how much of the processor others took meanwhile."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked", "undisturbed"]

MOST_TRIES = 3


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold a lock file, where one is named: other measurements wait."""
    if path is None:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def undisturbed(run: Callable[[], dict[str, float]], most: float) -> dict[str, float]:
    """Run until others took at most the share `most` of the cores meanwhile, at most three times; the least disturbed counts.

    The share is added to the figures as `others`.
    """
    tries: list[dict[str, float]] = []
    while len(tries) < MOST_TRIES:
        started, busy, own = time.perf_counter(), _busy_s(), _own_s()
        figures = run()
        seconds = (time.perf_counter() - started) * (os.cpu_count() or 1)
        tries.append(figures | {"others": max(0.0, (_busy_s() - busy) - (_own_s() - own)) / seconds})
        if tries[-1]["others"] <= most:
            break
        print(f"other processes took {tries[-1]['others']:.0%} of the processor; measuring again", file=sys.stderr, flush=True)
    return min(tries, key=lambda figures: figures["others"])


def _busy_s() -> float:
    """Seconds that all cores worked or were taken by the hypervisor, since boot."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
