"""Traces: a span for each request with its phases, under the trace of its client; sent over OTLP; a clear error without the library."""

from __future__ import annotations

import sys

import pytest
from aiohttp import web

from fakes.running_server import StartServer
from fakes.scripted_engine import ScriptedEngine, words_script
from octavo.cli.main import main

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
async def collector():
    """Takes OTLP; `spans` are those that came."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    class Collector:
        spans: list = []  # noqa: RUF012
        resources: list = []  # noqa: RUF012

    async def take(request: web.Request) -> web.Response:
        import gzip

        raw = await request.read()
        told = ExportTraceServiceRequest.FromString(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
        for resource in told.resource_spans:
            Collector.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
            Collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.add_routes([web.post("/v1/traces", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    Collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    yield Collector
    await runner.cleanup()


def value(attribute) -> object:
    return getattr(attribute.value, attribute.value.WhichOneof("value"))


async def test_a_request_is_a_span_with_its_phases_under_its_clients_trace(collector, start_server: StartServer):
    engine = ScriptedEngine(script=words_script("a b c"))
    server = await start_server(engine, otlp_traces_endpoint=collector.url)
    async with server.http.post("/v1/completions", json={"prompt": "a", "max_tokens": 4, "stream": True}, headers=HEADERS) as response:
        await response.read()
        request_id = response.headers["X-Request-Id"]
    async with server.http.ws_connect("/v1/stream", headers=HEADERS) as socket:
        await socket.send_json({"id": 1, "prompt": "a"})
        while (await socket.receive_json())["type"] != "done":
            pass
    await server.post("/v1/completions", {"prompt": "a"})
    await server.stop()  # sends what waits
    assert collector.resources[0]["service.name"] == "octavo"
    roots = [span for span in collector.spans if span.name == "llm_request"]
    assert len(roots) == 3
    first, second, third = roots
    assert [span.trace_id.hex() == TRACE for span in roots] == [True, True, False]
    assert [span.parent_span_id.hex() for span in roots] == [PARENT, PARENT, ""]
    attributes = {each.key: value(each) for each in first.attributes}
    expected = {
        "gen_ai.request.model": "toy",
        "gen_ai.request.max_tokens": 4,
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 5,
    }
    assert attributes.items() >= expected.items()
    assert attributes["gen_ai.response.id"].startswith(request_id)
    phases = [span for span in collector.spans if span.parent_span_id == first.span_id]
    assert [span.name for span in phases] == ["queue", "prefill", "decode"]
    times = [first.start_time_unix_nano, *(span.end_time_unix_nano for span in phases)]
    assert times == sorted(times)
    assert phases[0].start_time_unix_nano == first.start_time_unix_nano
    assert phases[-1].end_time_unix_nano == first.end_time_unix_nano
    queue_s = (phases[0].end_time_unix_nano - phases[0].start_time_unix_nano) / 1e9
    assert queue_s == pytest.approx(0.004, abs=1e-6)
    assert second.span_id != third.span_id


async def test_a_broken_traceparent_and_a_dead_collector_cost_nothing(start_server: StartServer):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    server = await start_server(otlp_traces_endpoint="http://127.0.0.1:9/v1/traces")
    for header in ("", "00-zz-1-01", "x" * 5000, f"00-{'0' * 32}-{PARENT}-01"):
        async with server.http.post("/v1/completions", json={"prompt": "a"}, headers={"traceparent": header}) as response:
            assert response.status == 200


def test_without_the_library_the_flag_is_an_error_before_the_model(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert main(["serve", "no-such-model", "--port=0", "--otlp-traces-endpoint=http://127.0.0.1:4318/v1/traces"]) == 1
    told = capsys.readouterr().err
    assert "pip install 'octavo[otel]'" in told
    assert told.count("\n") == 1
