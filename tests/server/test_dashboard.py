"""The dashboard's page and the document that it polls."""

from __future__ import annotations

import re
from base64 import b64decode

from fakes.fake_engine import ask
from fakes.running_server import Server, StartServer
from octavo.server.dashboard import RecentLatencies
from octavo.types import KvBlocks


async def state(server: Server) -> dict:
    async with server.http.get("/dashboard/state") as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        return await response.json()


async def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    async with server.http.get("/dashboard") as response:
        assert response.content_type == "text/html"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        page = await response.text()
    paths = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert "/static/dashboard.js" in paths
    for path in paths:
        async with server.http.get(path) as response:
            assert response.status == 200, path


async def test_the_state_says_how_things_stand(server: Server) -> None:
    first = await state(server)
    assert (first["model"], first["running"], first["waiting"], first["preemptions"]) == ("toy", 0, 0, 1)
    assert (first["prompt_tokens"], first["cached_prompt_tokens"], first["generation_tokens"]) == (10, 4, 20)
    assert first["ttft_ms"] == first["itl_ms"] == {"p50": None, "p99": None}
    await server.post("/v1/completions", {"prompt": "a"})
    second = await state(server)
    assert (second["ttft_ms"], second["itl_ms"]) == ({"p50": 10, "p99": 10}, {"p50": 2, "p99": 2})
    assert second["time_s"] > first["time_s"]


async def test_each_group_of_layers_has_its_blocks(server: Server) -> None:
    server.engine.blocks = [KvBlocks(None, bytes((1, 1, 3, 0))), KvBlocks(4096, bytes((2, 0)))]
    full, windowed = (await state(server))["kv"]
    assert b64decode(full.pop("states")) == bytes((1, 1, 3, 0))
    assert full == {
        "name": "full attention",
        "num_blocks": 4,
        "num_shown": 4,
        "num_free": 1,
        "num_held": 2,
        "num_cached": 0,
        "num_shared": 1,
    }
    assert windowed["name"] == "attention to the last 4,096 tokens"
    assert b64decode(windowed["states"]) == bytes((2, 0))


async def test_a_large_cache_is_shown_in_part_and_travels_small(server: Server) -> None:
    server.engine.blocks = [KvBlocks(None, bytes((1,)) * 70_000 + bytes((2,)) * 30_000)]
    async with server.http.get("/dashboard/state") as response:
        assert response.headers["Content-Encoding"] in ("gzip", "deflate")
        assert int(response.headers["Content-Length"]) < 2_000
        (group,) = (await response.json())["kv"]
    assert (group["num_blocks"], group["num_shown"], len(b64decode(group["states"]))) == (100_000, 65_536, 65_536)
    assert (group["num_free"], group["num_held"], group["num_cached"], group["num_shared"]) == (0, 70_000, 30_000, 0)


async def test_page_and_state_are_behind_the_key(start_server: StartServer) -> None:
    server = await start_server(api_key=("k",))
    challenges = {}
    for path in ("/dashboard", "/dashboard/state"):
        async with server.http.get(path) as response:
            assert response.status == 401
            challenges[path] = response.headers["WWW-Authenticate"].split()[0]
        async with server.http.get(path, headers={"Authorization": "Bearer k"}) as response:
            assert response.status == 200
    assert challenges == {"/dashboard": "Basic", "/dashboard/state": "Bearer"}


def test_latencies_are_those_of_the_last_minute() -> None:
    now_s = 0.0
    latencies = RecentLatencies(lambda: now_s)
    for milliseconds in range(1, 201):
        latencies.first_token(ask(), milliseconds / 1000)
    assert latencies.ttft.percentiles_ms() == {"p50": 100, "p99": 198}
    now_s = 40.0
    latencies.first_token(ask(), 0.5)
    now_s = 61.0
    assert latencies.ttft.percentiles_ms() == {"p50": 500, "p99": 500}
    now_s = 101.0
    assert latencies.ttft.percentiles_ms() == {"p50": None, "p99": None}


def test_what_latencies_keep_is_bounded() -> None:
    latencies, request = RecentLatencies(lambda: 0.0), ask()
    for value in range(20_000):
        latencies.inter_token(request, value / 1000)
    assert latencies.itl.percentiles_ms()["p50"] >= 20_000 - 8_192
