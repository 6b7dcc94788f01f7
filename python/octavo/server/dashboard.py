"""GET /dashboard/state: how things stand, for the page at /dashboard, which asks once a second.

    {"time_s", "model", "running", "waiting", "generation_tokens", "prompt_tokens", "cached_prompt_tokens", "preemptions",
     "ttft_ms": {"p50", "p99"}, "itl_ms": {"p50", "p99"},
     "kv": [{"name", "num_blocks", "num_shown", "num_free", "num_held", "num_cached", "num_shared", "states"}]}

`time_s` is of a clock that only goes forward, so that a reader can turn two counts into a rate. Percentiles are those of the last minute,
null where nothing came. `states` is base64 of one byte per block, as `KvBlocks` numbers them, for the first `num_shown` blocks: at most
65,536, so that the document of a large cache stays small. The counts are those of all blocks.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from octavo.server.edge.context import CONTEXT

if TYPE_CHECKING:
    from octavo.engine.port import Engine
    from octavo.engine.stats import RequestSummary
    from octavo.types import GenerationRequest, KvBlocks

__all__ = ["RecentLatencies", "dashboard_routes"]

_MAX_SHOWN = 65_536  # blocks of a group
_MAX_KEPT = 8_192  # values of a latency: sorting them takes about a millisecond
_RECENT_S = 60.0
_STATES = ("num_free", "num_held", "num_cached", "num_shared")  # by the number of the state
_MS = 1000.0


class RecentValues:
    """What was observed in the last minute; of more than 8,192 values the latest ones."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._observed: deque[tuple[float, float]] = deque(maxlen=_MAX_KEPT)

    def observe(self, value: float) -> None:
        """Keep one value."""
        self._observed.append((self._clock(), value))

    def percentiles_ms(self) -> dict[str, float | None]:
        """Return the median and the 99th percentile (nearest rank) of values in seconds, as milliseconds; None where there are none."""
        oldest_s = self._clock() - _RECENT_S
        while self._observed and self._observed[0][0] < oldest_s:
            self._observed.popleft()
        values = sorted(value for _, value in self._observed)
        return {f"p{percent}": _nearest_rank(values, percent) for percent in (50, 99)}


class RecentLatencies:
    """An `EngineObserver` that keeps the latencies of the last minute.

    Args:
        clock: seconds from an arbitrary origin; only differences are used.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.ttft = RecentValues(clock)
        self.itl = RecentValues(clock)

    def queued(self, request: GenerationRequest) -> None:
        """See `EngineObserver`."""

    def first_token(self, request: GenerationRequest, ttft_s: float) -> None:
        """See `EngineObserver`."""
        self.ttft.observe(ttft_s)

    def inter_token(self, request: GenerationRequest, itl_s: float) -> None:
        """See `EngineObserver`."""
        self.itl.observe(itl_s)

    def finished(self, request: GenerationRequest, summary: RequestSummary) -> None:
        """See `EngineObserver`."""


def dashboard_routes(engine: Engine) -> list[web.RouteDef]:
    """Register the observer with `engine` and return the endpoint."""
    latencies = RecentLatencies()
    engine.add_observer(latencies)

    async def state(request: web.Request) -> web.Response:
        body = orjson.dumps(await _document(request.app[CONTEXT].engine, latencies))
        response = web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})
        response.enable_compression()
        return response

    return [web.get("/dashboard/state", state)]


async def _document(engine: Engine, latencies: RecentLatencies) -> dict[str, Any]:
    stats = engine.stats()
    return {
        "time_s": time.monotonic(),
        "model": engine.info.name,
        "running": stats.num_running,
        "waiting": stats.num_waiting,
        "generation_tokens": stats.generation_tokens,
        "prompt_tokens": stats.prompt_tokens,
        "cached_prompt_tokens": stats.cached_prompt_tokens,
        "preemptions": stats.preemptions,
        "ttft_ms": latencies.ttft.percentiles_ms(),
        "itl_ms": latencies.itl.percentiles_ms(),
        "kv": [_group(blocks) for blocks in await engine.kv_blocks()],
    }


def _group(blocks: KvBlocks) -> dict[str, Any]:
    shown = blocks.states[:_MAX_SHOWN]
    return {
        "name": "full attention" if blocks.window is None else f"attention to the last {blocks.window:,} tokens",
        "num_blocks": len(blocks.states),
        "num_shown": len(shown),
        **{name: blocks.states.count(state) for state, name in enumerate(_STATES)},
        "states": b64encode(shown).decode(),
    }


def _nearest_rank(values: list[float], percent: int) -> float | None:
    """The smallest of the sorted values that at least `percent` % of them do not exceed, in milliseconds."""
    return values[-(-percent * len(values) // 100) - 1] * _MS if values else None
