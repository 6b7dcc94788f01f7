"""Bodies that are no JSON, too large, or at the wrong address."""

from __future__ import annotations

import asyncio
import time

import pytest

from fakes.running_server import Server, StartServer

JSON = {"Content-Type": "application/json"}
PATHS = ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"prompt": "a",}', "trailing comma"),
        (b'{"prompt": "a", "temperature": NaN}', "not valid JSON"),
        (b'{"prompt": "a", "temperature": 1e999}', "infinity"),
        (b'{"prompt": "\xff"}', "not valid UTF-8"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b"[" * 5000, "depth"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
    ],
)
async def test_what_is_not_a_json_object_is_400(server: Server, path: str, raw: bytes, text: str) -> None:
    async with server.http.post(path, data=raw, headers=JSON) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert text in error["message"]
    assert error["code"] == "invalid_json"


async def test_a_stated_length_over_the_limit_is_refused_before_the_body_is_read(server: Server) -> None:
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n{"
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert b" 413 " in head
    assert b"Connection: close" in head
    assert b"104857600" in await reader.read(400)
    assert time.monotonic() - started < 5
    writer.close()


async def test_a_100_mb_body_gets_its_413(server: Server) -> None:
    started = time.monotonic()
    async with server.http.post("/v1/completions", data=b"x" * 100_000_000, headers=JSON) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "body_too_large"
    assert time.monotonic() - started < 10


async def test_a_chunked_body_is_cut_at_the_limit(start_server: StartServer) -> None:
    server = await start_server(max_body_bytes=500)

    async def parts():
        for _ in range(50):
            yield b"x" * 100

    async with server.http.post("/tokenize", data=parts(), headers=JSON) as response:
        assert response.status == 413
        assert "max-body-bytes" in (await response.json())["error"]["message"]
    status, _ = await server.post("/tokenize", {"prompt": "alive"})
    assert status == 200


async def test_unknown_paths_and_methods(server: Server) -> None:
    await server.error("/v1/nothing", {}, status=404)
    async with server.http.get("/v1/completions") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert "use POST" in (await response.json())["error"]["message"]


async def test_a_fault_in_the_server_is_a_500_without_its_insides(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.engine, "submit", lambda request: 1 / 0)
    error = await server.error("/v1/completions", {"prompt": "a"}, status=500)
    assert error["type"] == "server_error"
    assert "division" not in error["message"]
