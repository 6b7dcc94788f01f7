"""What a run's timelines amount to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from octavo.cli.bench.timeline import Timeline

__all__ = ["distribution", "summarize"]

_PERCENTILES = (50, 90, 99)


def summarize(timelines: Sequence[Timeline], expected_output_tokens: int) -> dict[str, Any]:
    """Return the figures of a run: rates over the time from the first sending to the last token, latencies of what succeeded.

    Failed requests count in `failed` and `errors` and in no other figure, so a run with failures is never the faster for them
    in latency, and loses their tokens in throughput.
    """
    done = [timeline for timeline in timelines if timeline.error is None]
    duration = max(timeline.ended for timeline in timelines) - min(timeline.sent for timeline in timelines)
    output_tokens = sum(timeline.num_output_tokens for timeline in done)
    prompt_tokens = sum(timeline.num_prompt_tokens for timeline in done)
    cached = [timeline.num_cached_tokens for timeline in done if timeline.num_cached_tokens is not None]
    return {
        "duration_s": duration,
        "completed": len(done),
        "failed": len(timelines) - len(done),
        "errors": dict(Counter(timeline.error for timeline in timelines if timeline.error is not None)),
        "prompt_tokens": prompt_tokens,
        "cached_prompt_tokens": sum(cached) if cached else None,
        "output_tokens": output_tokens,
        "expected_output_tokens": expected_output_tokens,
        "requests_per_s": len(done) / duration,
        "output_tokens_per_s": output_tokens / duration,
        "total_tokens_per_s": (prompt_tokens + output_tokens) / duration,
        "ttft_ms": distribution(timeline.ttft_s for timeline in done),
        "itl_ms": distribution(gap for timeline in done for gap in timeline.itl_s),
        "tpot_ms": distribution(timeline.tpot_s for timeline in done),
        "e2e_ms": distribution(timeline.ended - timeline.sent for timeline in done),
    }


def distribution(seconds: Iterable[float | None]) -> dict[str, float] | None:
    """Return mean, percentiles, least and most in milliseconds; None where there is nothing to say."""
    values = np.array([value for value in seconds if value is not None]) * 1e3
    if not len(values):
        return None
    points = {f"p{percent}": float(np.percentile(values, percent)) for percent in _PERCENTILES}
    return {"mean": float(values.mean()), **points, "min": float(values.min()), "max": float(values.max())}
