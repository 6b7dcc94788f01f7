"""GET /metrics in Prometheus' text format, from a registry of the application's own.

Counts and gauges are read from `engine.stats()` when somebody asks; only latencies are recorded as they happen, through
`EngineObserver`.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from octavo.server.edge.context import CONTEXT

if TYPE_CHECKING:
    from octavo.engine.port import Engine
    from octavo.engine.stats import RequestSummary
    from octavo.server.edge.context import ServerContext
    from octavo.types import GenerationRequest

__all__ = ["LatencyObserver", "add_metrics"]

_TTFT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_ITL_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
_E2E_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0)
_LAG_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_LAG_PERIOD_S = 0.05
_TOKENS = tuple(float(2**power) for power in range(18))


class Histogram(Collector):
    """Counts what one thread observes: of prometheus_client's own, which locks and asks for labels, a token would pay for each call."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._created = time.time()

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[Metric]:
        """Yield the metric family."""
        bounds = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]
        family = HistogramMetricFamily(self._name, self._text, list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)
        family.add_sample(f"{self._name}_created", {}, self._created)
        yield family


class LatencyObserver:
    """An `EngineObserver` that feeds histograms."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            made = Histogram(f"octavo_{name}", text, buckets)
            registry.register(made)
            return made

        self._ttft = histogram("time_to_first_token_seconds", "From arrival to the first token.", _TTFT_S)
        self._itl = histogram("inter_token_latency_seconds", "Between two tokens of a choice.", _ITL_S)
        self._e2e = histogram("e2e_request_latency_seconds", "From arrival to the end of the last choice.", _E2E_S)
        self._queue = histogram("request_queue_time_seconds", "From arrival to the first step.", _TTFT_S)
        self._prefill = histogram("request_prefill_time_seconds", "From the first step to the first token.", _TTFT_S)
        self._decode = histogram("request_decode_time_seconds", "From the first token to the end of the last choice.", _E2E_S)
        self._prompt = histogram("request_prompt_tokens", "Prompt tokens of a request.", _TOKENS)
        self._generation = histogram("request_generation_tokens", "Generated tokens of a request, all choices.", _TOKENS)

    def queued(self, request: GenerationRequest) -> None:
        """See `EngineObserver`."""

    def first_token(self, request: GenerationRequest, ttft_s: float) -> None:
        """See `EngineObserver`."""
        self._ttft.observe(ttft_s)

    def inter_token(self, request: GenerationRequest, itl_s: float) -> None:
        """See `EngineObserver`."""
        self._itl.observe(itl_s)

    def finished(self, request: GenerationRequest, summary: RequestSummary) -> None:
        """See `EngineObserver`."""
        self._e2e.observe(summary.e2e_s)
        if summary.ttft_s is not None:
            self._queue.observe(summary.queue_s)
            self._prefill.observe(max(0.0, summary.ttft_s - summary.queue_s))
            self._decode.observe(summary.e2e_s - summary.ttft_s)
        self._prompt.observe(summary.num_prompt_tokens)
        self._generation.observe(summary.num_generation_tokens)


class EngineCollector(Collector):
    """Turns `engine.stats()` into metrics at each scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families."""
        stats = self._engine.stats()
        yield GaugeMetricFamily("octavo_up", "1 while the engine can serve.", value=float(self._engine.dead is None))
        yield GaugeMetricFamily("octavo_num_requests_running", "Sequences in the running batch.", value=stats.num_running)
        yield GaugeMetricFamily("octavo_num_requests_waiting", "Requests that wait for their first step.", value=stats.num_waiting)
        yield GaugeMetricFamily("octavo_kv_cache_usage_ratio", "Share of KV-cache blocks in use, 0 to 1.", value=stats.kv_usage)
        yield CounterMetricFamily("octavo_prompt_tokens", "Prompt tokens.", value=stats.prompt_tokens)
        yield CounterMetricFamily(
            "octavo_prefix_cache_hit_tokens", "Prompt tokens that the prefix cache served.", value=stats.cached_prompt_tokens
        )
        yield CounterMetricFamily("octavo_generation_tokens", "Generated tokens.", value=stats.generation_tokens)
        yield CounterMetricFamily("octavo_preemptions", "Sequences that lost their blocks to others.", value=stats.preemptions)
        yield CounterMetricFamily("octavo_steps", "Steps of the engine.", value=stats.steps)
        yield CounterMetricFamily("octavo_rebuilds", "Times that the engine was built again after a fault.", value=stats.rebuilds)
        finished = CounterMetricFamily("octavo_finished", "Choices that ended, by finish reason.", labels=["finish_reason"])
        for reason, count in sorted(stats.finished.items()):
            finished.add_metric([reason.value], count)
        yield finished


class EdgeCollector(Collector):
    """What was refused, and what each client has used where there are keys to tell them apart."""

    def __init__(self, context: ServerContext) -> None:
        self._clients = context.clients
        self._refused = context.refused

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families."""
        running = GaugeMetricFamily("octavo_client_requests_running", "A key's requests that have not ended.", labels=["client"])
        requests = CounterMetricFamily("octavo_client_requests", "A key's requests that were taken.", labels=["client"])
        tokens = CounterMetricFamily("octavo_client_tokens", "Tokens of a key's prompts and answers.", labels=["client"])
        refused = CounterMetricFamily("octavo_client_refused", "A key's requests beyond its limits.", labels=["client", "limit"])
        for client in self._clients:
            running.add_metric([client.name], client.running)
            requests.add_metric([client.name], client.num_requests)
            tokens.add_metric([client.name], client.num_tokens)
            for limit, count in sorted(client.refused.items()):
                refused.add_metric([client.name, limit], count)
        told = CounterMetricFamily("octavo_refused", "Requests answered 429 or 503, by the error's code.", labels=["code"])
        for code, count in sorted(self._refused.items()):
            told.add_metric([code], count)
        yield from (running, requests, tokens, refused, told)


class LoopLag:
    """How late the event loop calls what is due: what a request may wait for before anybody looks at it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histogram = Histogram("octavo_loop_lag_seconds", "How late the event loop calls what is due, every 50 ms.", _LAG_S)
        registry.register(self._histogram)

    async def watch(self) -> None:
        """Measure for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            due_s = clock() + _LAG_PERIOD_S
            await asyncio.sleep(_LAG_PERIOD_S)
            self._histogram.observe(max(0.0, clock() - due_s))


def add_metrics(app: web.Application) -> None:
    """Give `app` its endpoint, and what feeds it: an observer of its engine, a watch over the event loop."""
    context = app[CONTEXT]
    engine, registry = context.engine, CollectorRegistry(auto_describe=False)
    registry.register(EngineCollector(engine))
    registry.register(EdgeCollector(context))
    ProcessCollector(registry=registry)
    engine.add_observer(LatencyObserver(registry))
    lag = LoopLag(registry)

    async def watch_lag(_: web.Application) -> AsyncIterator[None]:
        watch = asyncio.create_task(lag.watch())
        yield
        watch.cancel()

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=generate_latest(registry), headers=headers)

    app.router.add_get("/metrics", metrics)
    app.cleanup_ctx.append(watch_lag)
