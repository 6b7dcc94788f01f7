"""A line of throughput in the log every few seconds, while there is something to tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from octavo.engine.stats import EngineStats
from octavo.log import get_logger

__all__ = ["log_stats"]

_log = get_logger(__name__)


async def log_stats(stats: Callable[[], EngineStats], interval_s: float) -> None:
    """Log rates over each interval of `interval_s` seconds, until cancelled; an idle interval is passed over."""
    before = stats()
    while True:
        await asyncio.sleep(interval_s)
        now = stats()
        if now.steps != before.steps:
            _log.info("%s", throughput_line(before, now, interval_s))
        before = now


def throughput_line(before: EngineStats, now: EngineStats, interval_s: float) -> str:
    """What happened between two snapshots, `interval_s` seconds apart."""
    num_prompt_tokens = now.prompt_tokens - before.prompt_tokens
    num_cached_tokens = now.cached_prompt_tokens - before.cached_prompt_tokens
    hit_rate = num_cached_tokens / num_prompt_tokens if num_prompt_tokens else 0.0
    return (
        f"prompt {num_prompt_tokens / interval_s:.1f} tok/s ({hit_rate:.0%} cached), "
        f"output {(now.generation_tokens - before.generation_tokens) / interval_s:.1f} tok/s, "
        f"running {now.num_running}, waiting {now.num_waiting}, KV cache {now.kv_usage:.0%}, "
        f"preemptions {now.preemptions - before.preemptions}"
    )
