"""OpenTelemetry traces (`--otlp-traces-endpoint`): a span for each request of the engine, with what it waited, prefilled and decoded.

A client's `traceparent` (https://www.w3.org/TR/trace-context/) is the parent. Attributes are those of OpenTelemetry's conventions for
generative AI. Spans are made when a request has ended, from times that are measured anyway, and are sent by a thread of the library's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aiohttp import web

from octavo.errors import ConfigError
from octavo.log import REQUEST_ID

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanProcessor

    from octavo.engine.stats import RequestSummary
    from octavo.types import GenerationRequest

__all__ = ["TraceObserver", "check_tracing", "otlp_processor", "read_traceparent"]

_HEADERS: ContextVar[dict[str, str] | None] = ContextVar("octavo_trace_headers", default=None)
_NS = 1_000_000_000


def check_tracing() -> None:
    """Raise `ConfigError` where the libraries are not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--otlp-traces-endpoint needs OpenTelemetry ({error}): pip install 'octavo[otel]'") from None


def otlp_processor(endpoint: str) -> SpanProcessor:
    """Return what sends spans to `endpoint`, such as http://127.0.0.1:4318/v1/traces, in batches."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter(endpoint))


@web.middleware
async def read_traceparent(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Keep the headers that say which trace a request belongs to, for the tasks that serve it."""
    names = ("traceparent", "tracestate")
    _HEADERS.set({name: request.headers[name] for name in names if name in request.headers})
    return await handler(request)


class TraceObserver:
    """An `EngineObserver` that makes spans.

    Args:
        model: its name.
        processor: where spans go.
    """

    def __init__(self, model: str, processor: SpanProcessor) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create()  # of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "octavo"}))
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("octavo")
        self._propagator = TraceContextTextMapPropagator()
        self._model = model
        self._begun: dict[str, tuple[Context, str]] = {}

    def queued(self, request: GenerationRequest) -> None:
        """See `EngineObserver`. Runs in the task that serves the request, which knows its trace."""
        self._begun[request.request_id] = (self._propagator.extract(_HEADERS.get() or {}), REQUEST_ID.get())

    def first_token(self, request: GenerationRequest, ttft_s: float) -> None:
        """See `EngineObserver`."""

    def inter_token(self, request: GenerationRequest, itl_s: float) -> None:
        """See `EngineObserver`."""

    def finished(self, request: GenerationRequest, summary: RequestSummary) -> None:
        """See `EngineObserver`."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        context, request_id = self._begun.pop(request.request_id, (self._propagator.extract({}), ""))
        end_ns = time.time_ns()
        begin_ns = end_ns - int(summary.e2e_s * _NS)
        attributes = {**_attributes(request, summary), "gen_ai.request.model": self._model, "gen_ai.request.id": request_id}
        span = self._tracer.start_span("llm_request", context, SpanKind.SERVER, attributes, start_time=begin_ns)
        inside = set_span_in_context(span, context)
        for name, start_ns, stop_ns in _phases(summary, begin_ns, end_ns):
            self._tracer.start_span(name, inside, start_time=start_ns).end(stop_ns)
        span.end(end_ns)

    def close(self) -> None:
        """Send what waits. Blocks for a few seconds at most."""
        self._provider.shutdown()


def _phases(summary: RequestSummary, begin_ns: int, end_ns: int) -> list[tuple[str, int, int]]:
    if summary.ttft_s is None:
        return [("queue", begin_ns, end_ns)]
    started_ns, first_ns = begin_ns + int(summary.queue_s * _NS), begin_ns + int(summary.ttft_s * _NS)
    return [("queue", begin_ns, started_ns), ("prefill", started_ns, max(started_ns, first_ns)), ("decode", first_ns, end_ns)]


def _attributes(request: GenerationRequest, summary: RequestSummary) -> dict[str, Any]:
    params = request.params
    attributes: dict[str, Any] = {
        "gen_ai.request.temperature": params.temperature,
        "gen_ai.request.top_p": params.top_p,
        "gen_ai.request.choice.count": params.n,
        "gen_ai.usage.input_tokens": summary.num_prompt_tokens,
        "gen_ai.usage.output_tokens": summary.num_generation_tokens,
        "gen_ai.usage.cache_read.input_tokens": summary.num_cached_tokens,
        "gen_ai.response.id": request.request_id,
        "gen_ai.response.finish_reasons": [reason.value for reason in summary.finish_reasons],
        "gen_ai.latency.time_in_queue": summary.queue_s,
        "gen_ai.latency.e2e": summary.e2e_s,
    }
    if params.max_tokens is not None:
        attributes["gen_ai.request.max_tokens"] = params.max_tokens
    if summary.ttft_s is not None:
        attributes["gen_ai.latency.time_to_first_token"] = summary.ttft_s
    return attributes
