"""Who may use the server: keys, web pages, names."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import aiohttp
import pytest

from fakes.running_server import Server, StartServer
from octavo.config import ServerConfig
from octavo.errors import ConfigError
from octavo.server.edge.api_keys import read_keys

PATHS = ("/", "/v1/models", "/v1/stream", "/v1/nothing", "/version", "/metrics", "/tokenize", "/v1/chat/completions")
ELSEWHERE = "https://elsewhere.example"


async def status(server: Server, path: str, *, method: str = "GET", data: bytes | None = None, **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.http.request(method, path, headers=sent, data=data, skip_auto_headers=["Content-Type"]) as response:
        return response.status


@pytest.mark.parametrize("path", PATHS)
async def test_every_route_but_health_is_behind_the_key(start_server: StartServer, path: str) -> None:
    server = await start_server(api_key=("sésame", "other"))
    basic = base64.b64encode("me:sésame".encode()).decode()
    for sent in (
        "",
        "Bearer wrong",
        "s\u00e9same",
        "Basic !",
        "Basic " + base64.b64encode(b"me:wrong").decode(),
        "Bearer",
        "bearer s\u00e9same-not",
    ):
        assert await status(server, path, **({"Authorization": sent} if sent else {})) == 401
    for sent in ("Bearer sésame", "bearer  sésame", "BEARER other", f"basic {basic}"):
        assert await status(server, path, Authorization=sent) != 401


async def test_health_needs_no_key(start_server: StartServer) -> None:
    server = await start_server(api_key=("k",))
    assert [await status(server, path) for path in ("/health", "/ping")] == [200, 200]


async def test_a_browser_asks_for_the_key_of_the_page(start_server: StartServer) -> None:
    server = await start_server(api_key=("k",))
    async with server.http.get("/") as response:
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
    async with server.http.get("/v1/models") as response:
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_keys_come_from_flags_a_file_and_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# mine\nfirst\n\n  second \n")
    config = ServerConfig(api_key=("flag",), api_key_file=str(path))
    assert set(read_keys(config, {"OCTAVO_API_KEY": "environment"})) == {"flag", "first", "second", "environment"}
    assert read_keys(ServerConfig(), {}) == {}


@pytest.mark.parametrize(
    "config", [ServerConfig(api_key=("",)), ServerConfig(api_key=("a", " ")), ServerConfig(api_key_file="/nowhere/keys")]
)
def test_an_empty_key_is_no_key(config: ServerConfig) -> None:
    with pytest.raises(ConfigError, match=r"empty|cannot be read"):
        read_keys(config, {})
    with pytest.raises(ConfigError, match="empty"):
        read_keys(ServerConfig(), {"OCTAVO_API_KEY": ""})


async def test_a_page_elsewhere_cannot_make_the_server_work(server: Server) -> None:
    body = b'{"prompt": "a"}'
    for kind in ("text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        sent = {"Content_Type": kind} if kind else {}
        assert await status(server, "/v1/completions", method="POST", data=body, Origin=ELSEWHERE, **sent) == 415
        assert await status(server, "/v1/completions", method="POST", data=body, Origin="null", **sent) == 415
        assert await status(server, "/v1/completions", method="POST", data=body, Sec_Fetch_Site="cross-site", **sent) == 415
        path = "/v1/audio/transcriptions"  # takes forms, but not those of such a page
        assert await status(server, path, method="POST", data=body, Origin=ELSEWHERE, **sent) == 415
        assert await status(server, path, method="POST", data=body, Sec_Fetch_Site="cross-site", **sent) == 415
        # what names neither a type nor an origin is no page's
        assert await status(server, "/v1/completions", method="POST", data=body, **sent) == (415 if kind else 200)
        assert await status(server, "/v1/completions", method="POST", data=body, Origin=server.url, **sent) == 200
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"):
        assert await status(server, "/v1/completions", method="POST", data=body, Content_Type=kind) == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "127.8.8.8:1", "[::1]:8000", "app.localhost"])
async def test_names_of_this_machine(server: Server, host: str) -> None:
    assert await status(server, "/v1/models", Host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "10.0.0.1", "[fe80::1]", "localhost.evil.example", "[", ""])
async def test_a_name_rebound_to_loopback_is_refused(server: Server, host: str) -> None:
    assert await status(server, "/v1/models", Host=host) == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await server.http.ws_connect("/v1/stream", origin=f"http://{host}", headers={"Host": host})
    assert refused.value.status == 403


async def test_a_name_may_be_allowed(start_server: StartServer) -> None:
    server = await start_server(allowed_hosts=("Box.lan",))
    assert await status(server, "/v1/models", Host="box.lan:8000") == 200
    assert await status(server, "/v1/models", Host="other.lan") == 403


async def test_beyond_loopback_any_name_will_do(start_server: StartServer) -> None:
    server = await start_server(host="0.0.0.0")
    assert await status(server, "/v1/models", Host="anything.example") == 200


async def preflight(server: Server, origin: str, method: str = "POST") -> tuple[int, dict[str, str]]:
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,x-own"}
    async with server.http.options("/v1/chat/completions", headers=headers) as response:
        return response.status, dict(response.headers)


async def test_preflights_of_listed_origins_are_answered(start_server: StartServer) -> None:
    server = await start_server(cors_origins=(ELSEWHERE + "/",), api_key=("k",))
    got, headers = await preflight(server, ELSEWHERE)
    assert got == 204
    assert headers["Access-Control-Allow-Origin"] == ELSEWHERE
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert headers["Access-Control-Allow-Headers"] == "authorization,x-own"
    got, headers = await preflight(server, "https://other.example")
    assert got == 403
    assert "Access-Control-Allow-Origin" not in headers


async def test_a_listed_page_may_read_answers_errors_and_streams(start_server: StartServer) -> None:
    server = await start_server(cors_origins=(ELSEWHERE,))
    for body, expected in (({"prompt": "a"}, 200), ({}, 400), ({"prompt": "a", "stream": True}, 200)):
        for origin in (ELSEWHERE, "https://other.example"):
            async with server.http.post("/v1/completions", json=body, headers={"Origin": origin}) as response:
                assert response.status == expected
                assert response.headers.get("Access-Control-Allow-Origin") == (ELSEWHERE if origin == ELSEWHERE else None)
                assert response.headers["Vary"] == "Origin"
    async with server.http.ws_connect("/v1/stream", origin=ELSEWHERE):
        pass


async def test_without_cors_origins_no_page_is_told_anything(server: Server) -> None:
    assert (await preflight(server, ELSEWHERE))[0] == 403
    async with server.http.get("/v1/models", headers={"Origin": ELSEWHERE}) as response:
        assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("origin", [b"http://[", b"\xff", b"null", b"file://", b"http://evil.example", b"://"])
async def test_odd_origins_of_a_socket_are_the_clients_fault(server: Server, origin: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    head = b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: %b\r\n" % origin
    writer.write(head + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
    assert b" 403 " in answer
    writer.close()


async def test_a_connection_that_sends_nothing_is_closed(start_server: StartServer) -> None:
    server = await start_server(idle_timeout_s=0.2)
    for head in (b"", b"GET /health HTTP/1.1\r\nHost: loc", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(head)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 200") == head.endswith(b"\r\n\r\n")
        writer.close()


async def test_a_request_id_comes_back_everywhere(server: Server) -> None:
    sent = {"X-Request-Id": "my-id"}
    for path in ("/health", "/v1/nothing", "/metrics"):
        async with server.http.get(path, headers=sent) as response:
            assert response.headers["X-Request-Id"] == "my-id"
    for body in ({"prompt": "a"}, {"prompt": "a", "stream": True}, {}):
        async with server.http.post("/v1/completions", json=body, headers=sent) as response:
            assert response.headers.getall("X-Request-Id") == ["my-id"]
    async with server.http.get("/health", headers={"X-Request-Id": "x" * 300}) as response:
        assert response.headers["X-Request-Id"].startswith("req-")


async def test_running_out_of_descriptors_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from octavo.server.edge import descriptors

    def refuse(_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(descriptors.os, "dup", refuse)
    watch = asyncio.ensure_future(descriptors.watch_descriptors(0, every_s=0.001))
    await asyncio.sleep(0.05)
    watch.cancel()
    assert caplog.text.count("no file descriptor is left") == 1
