"""The pages and the dashboard name what a scrape has: every family with its type, every vLLM name with one of ours, every expression."""

from __future__ import annotations

import json
import re
from pathlib import Path

import docs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine

DASHBOARD = Path(__file__).parents[2] / "docs" / "examples" / "grafana-dashboard.json"


async def scrape(server: Server) -> dict[str, str]:
    """Name of each sample -> type of its family."""
    async with server.http.get("/metrics", headers={"Authorization": "Bearer k"}) as response:
        text = await response.text()
    return {sample.name: family.type for family in text_string_to_metric_families(text) for sample in family.samples}


@pytest.fixture
async def samples(start_server: StartServer) -> dict[str, str]:
    """Of a server on which everything has happened that is counted."""
    server = await start_server(ScriptedEngine(max_waiting=1), api_key=("k",), key_requests_per_minute=2)
    for _ in range(3):
        async with server.http.post("/v1/completions", json={"prompt": "a"}, headers={"Authorization": "Bearer k"}):
            pass
    return await scrape(server)


def test_the_page_lists_every_family_and_no_other(samples: dict[str, str]):
    listed = {name: kind for name, kind, _ in docs._families()}
    found = {name.removesuffix("_bucket"): kind for name, kind in samples.items() if not re.search(r"_(sum|count|created)$", name)}
    assert listed == {name: kind for name, kind in found.items() if name.startswith("octavo_")}


def test_every_name_of_vllm_has_one_that_a_scrape_has(samples: dict[str, str]):
    missing = [name for name in docs._OF_VLLM.values() if not samples.keys() & {f"octavo_{name}", f"octavo_{name}_bucket"}]
    assert missing == []


def test_every_expression_of_the_dashboard_names_samples_that_a_scrape_has(samples: dict[str, str]):
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries = [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    named = {name for text in [*expressions, *queries] for name in re.findall(r"\b(?:octavo|process)_\w+", text)}
    assert named - samples.keys() == set()
    assert len(named) > 20
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    families = {name for name, _, _ in docs._families()}
    assert families - shown == {"octavo_client_requests_running", "octavo_client_requests_total", "octavo_client_refused_total"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for text in expressions:
        assert text.count("(") == text.count(")")


async def test_refusals_are_counted_by_their_code(start_server: StartServer):
    server = await start_server(ScriptedEngine(max_waiting=0))
    await server.error("/v1/completions", {"prompt": "a"}, status=503)
    async with server.http.ws_connect("/v1/stream") as socket:
        await socket.send_json({"id": 1, "prompt": "a"})
        assert (await socket.receive_json())["error"]["code"] == "queue_full"
    async with server.http.get("/metrics") as response:
        assert 'octavo_refused_total{code="queue_full"} 2.0' in await response.text()
    assert server.context.refused == {"queue_full": 2}
