"""What one API key may use: requests at once, requests and tokens a minute; over HTTP and on sockets; told in headers and metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, endless_script
from octavo.config import LimitsConfig, ServerConfig
from octavo.errors import ConfigError
from octavo.server.edge.api_keys import KeyOptions, read_keys
from octavo.server.edge.clients import Client, Clients
from octavo.server.edge.errors import ApiError
from octavo.server.edge.rate_limit import RateLimit

PROMPT = {"prompt": "ab"}  # three tokens with the beginning of text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def auth(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def post(server: Server, key: str, path: str = "/v1/completions", body: object = PROMPT) -> tuple[int, dict, dict]:
    async with server.http.post(path, json=body, headers=auth(key)) as response:
        return response.status, await response.json(), dict(response.headers)


def test_a_rate_allows_a_minutes_worth_at_once_and_waits_debts_off():
    clock = Clock()
    limit = RateLimit(60, clock)
    limit.take(60)
    assert (limit.remaining, limit.wait_s()) == (0, 1.0)
    clock.now = 0.5
    assert limit.wait_s() == 0.5
    limit.take(30)
    clock.now = 30.0
    assert limit.wait_s() == 1.0
    clock.now = 3600.0
    assert limit.remaining == 60


async def test_requests_a_minute(start_server: StartServer):
    server = await start_server(api_key=("a", "b"), key_requests_per_minute=2)
    status, _, headers = await post(server, "a")
    assert (status, headers["X-RateLimit-Limit-Requests"], headers["X-RateLimit-Remaining-Requests"]) == (200, "2", "1")
    assert (await post(server, "a", body={}))[0] == 400
    status, document, headers = await post(server, "a")
    assert status == 429
    assert 1 <= int(headers["Retry-After"]) <= 30
    assert document["error"]["code"] == "rate_limit_exceeded"
    assert document["error"]["type"] == "rate_limit_error"
    assert "this key may use 2 requests per minute" in document["error"]["message"]
    assert (await post(server, "b"))[0] == 200
    assert len(server.engine.requests) == 2
    async with server.http.get("/v1/models", headers=auth("a")) as response:
        assert response.status == 200  # costs nothing
    _, document, _ = await post(server, "a", "/v1/messages", {"model": "toy", "max_tokens": 1, "messages": []})
    assert document["error"]["type"] == "rate_limit_error"


async def test_tokens_a_minute_count_prompts_and_answers_of_streams_too(start_server: StartServer):
    server = await start_server(ScriptedEngine("four"), api_key=("k",), key_tokens_per_minute=14)
    for stream in (False, True):
        async with server.http.post("/v1/completions", json={**PROMPT, "stream": stream}, headers=auth("k")) as response:
            assert response.status == 200
            await response.read()
    [client] = server.context.clients
    assert client.num_tokens == 2 * (3 + 4)
    status, document, headers = await post(server, "k")
    assert (status, headers["X-RateLimit-Remaining-Tokens"]) == (429, "0")
    assert "14 tokens per minute" in document["error"]["message"]


async def test_requests_at_once_over_http_and_on_sockets(start_server: StartServer):
    server = await start_server(ScriptedEngine(script=endless_script(0.001)), api_key=("k",), key_requests=2)
    running = await server.http.post("/v1/completions", json={**PROMPT, "stream": True}, headers=auth("k"))
    assert running.status == 200
    async with server.http.ws_connect("/v1/stream", headers=auth("k")) as socket:
        await socket.send_json({"id": 1, **PROMPT})
        assert (await socket.receive_json())["type"] == "chunk"
        status, document, headers = await post(server, "k")
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "2 requests that run" in document["error"]["message"]
        await socket.send_json({"id": 2, **PROMPT})
        told = await answer(socket, 2)
        assert told["error"]["code"] == "rate_limit_exceeded"
        await socket.send_json({"type": "abort", "id": 1})
        while (message := await socket.receive_json())["type"] != "done" or message["id"] != 1:
            pass
        await socket.send_json({"id": 3, **PROMPT})
        assert (await answer(socket, 3))["type"] == "chunk"
    running.close()
    [client] = server.context.clients
    for _ in range(200):
        if client.running == 0:
            break
        await asyncio.sleep(0.01)
    assert client.running == 0


async def answer(socket: aiohttp.ClientWebSocketResponse, stream_id: int) -> dict:
    while (message := await socket.receive_json())["id"] != stream_id:
        pass
    return message


async def test_the_responses_socket_counts_each_response(start_server: StartServer):
    server = await start_server(api_key=("k",), key_requests_per_minute=1)
    async with server.http.ws_connect("/v1/responses", headers=auth("k")) as socket:
        for expected in ("response.completed", "error"):
            await socket.send_json({"type": "response.create", "input": "a"})
            while (event := await socket.receive_json())["type"] not in ("response.completed", "error"):
                pass
            assert event["type"] == expected
    assert event["code"] == "rate_limit_exceeded"


async def test_metrics_name_clients_and_never_their_keys(start_server: StartServer, tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("secret1 name=alice requests-per-minute=1\nsecret2\n")
    server = await start_server(ScriptedEngine("four"), api_key_file=str(file))
    for key in ("secret1", "secret1", "secret2"):
        await post(server, key)
    async with server.http.get("/metrics", headers=auth("secret2")) as response:
        text = await response.text()
    assert 'octavo_client_requests_total{client="alice"} 1.0' in text
    assert 'octavo_client_tokens_total{client="alice"} 7.0' in text
    assert 'octavo_client_refused_total{client="alice",limit="requests_per_minute"} 1.0' in text
    assert 'octavo_client_requests_running{client="key-' in text
    assert "secret" not in text


def test_a_line_of_the_file_has_limits_of_its_own(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("# keys\nk1\nk2  name=bob  requests=3 tokens-per-minute=50\n")
    config = ServerConfig(api_key_file=str(file), api_key=("k0",), limits=LimitsConfig(key_requests=9, key_requests_per_minute=7))
    assert read_keys(config, {}) == {
        "k0": KeyOptions(requests=9, requests_per_minute=7),
        "k1": KeyOptions(requests=9, requests_per_minute=7),
        "k2": KeyOptions("bob", 3, 7, 50),
    }


@pytest.mark.parametrize("option", ["x=1", "requests", "requests=0", "requests=-1", "requests=many", "tokens-per-minute=1.5", "name="])
def test_options_that_make_no_sense_are_named_with_their_line(option: str, tmp_path: Path):
    (tmp_path / "keys").write_text(f"secret1\nsecret2 {option}\n")
    with pytest.raises(ConfigError, match=r"keys, line 2: .*(is none of name=, requests=|must be a whole number)") as caught:
        read_keys(ServerConfig(api_key_file=str(tmp_path / "keys")), {})
    assert "secret" not in str(caught.value)


def test_limits_without_a_key_to_count_by_are_refused():
    with pytest.raises(ConfigError, match="the server has none"):
        Clients(ServerConfig(limits=LimitsConfig(key_requests=1)), {})


def test_keys_are_read_again_and_keep_what_they_have_used(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    file = tmp_path / "keys"
    file.write_text("k1\nk2 requests=1\n")
    clients = Clients(ServerConfig(api_key_file=str(file)), {})
    kept = clients.of(auth("k1"))
    file.write_text("k1\nk2 requests=2\nk3\n")
    clients.reload()
    assert clients.of(auth("k1")) is kept
    assert clients.of(auth("k2")).options.requests == 2
    assert clients.of(auth("k3")) is not None
    file.write_text("")
    clients.reload()
    assert "the API keys stay as they were" in caplog.text
    assert clients.of(auth("k3")) is not None


def test_a_request_that_is_refused_takes_nothing():
    clock = Clock()
    client = Client("c", KeyOptions(requests=1, requests_per_minute=60), clock)
    with client.request():
        for _ in range(100):
            with pytest.raises(ApiError), client.request():
                pass
    with client.request():
        assert client.headers()["X-RateLimit-Remaining-Requests"] == "58"
    assert (client.num_requests, client.refused["requests"]) == (2, 100)
