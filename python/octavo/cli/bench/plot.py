"""A picture of a run: how TTFT and ITL are distributed, and tokens per second over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from octavo.cli.bench.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

_BINS_OVER_TIME = 60


def plot(timelines: Sequence[Timeline], path: Path, title: str) -> None:
    """Draw the run into `path`; its suffix chooses the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    figure.suptitle(title)
    first, second, third = figure.subplots(1, 3)
    done = [timeline for timeline in timelines if timeline.error is None]
    _draw_distribution(first, [timeline.ttft_s for timeline in done if timeline.ttft_s is not None], "time to first token, ms")
    _draw_distribution(second, [gap for timeline in done for gap in timeline.itl_s], "inter-token latency, ms")
    _draw_rate(third, done)
    figure.savefig(path)


def _draw_distribution(axes: Axes, seconds: Sequence[float], label: str) -> None:
    values = np.sort(np.array(seconds)) * 1e3
    axes.plot(values, np.arange(1, len(values) + 1) / max(len(values), 1))
    axes.set(xlabel=label, ylabel="share of measurements", ylim=(0, 1.02))
    axes.grid(alpha=0.3)


def _draw_rate(axes: Axes, timelines: Sequence[Timeline]) -> None:
    start = min((timeline.sent for timeline in timelines), default=0.0)
    arrivals = [(time - start, count) for timeline in timelines for time, count in timeline.arrivals]
    times, counts = np.array(arrivals).T if arrivals else (np.zeros(1), np.zeros(1))
    totals, edges = np.histogram(times, _BINS_OVER_TIME, weights=counts)
    axes.stairs(totals / np.diff(edges), edges, fill=True, alpha=0.6)
    axes.set(xlabel="time, s", ylabel="output tokens/s")
    axes.grid(alpha=0.3)
