"""A server process among clients that are killed, read nothing, fall silent or send nonsense: nothing leaks, and others do not notice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from random_gguf import write_model

from fakes.malformed import GOOD, malformed

NUM_MALFORMED = 10_000 if os.environ.get("OCTAVO_TEST_ALL") == "1" else 200  # for each route
_ROOM = {"/v1/responses": 320 << 20}  # bytes that a route may keep: of stored responses 256 MiB
_LONG = {"max_tokens": 400, "ignore_eos": True, "temperature": 0}
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": ["One", "Two"], "stream": True, "n": 2, **_LONG},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}], "stream": True, **_LONG},
    "/v1/responses": {"input": "Hi", "stream": True, "store": False, "max_output_tokens": 400, "ignore_eos": True},
    "/v1/messages": {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 400},
    "/api/chat": {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 400}},
}
# A client as a program of its own, which says when its stream has begun and goes on reading until it is killed.
CLIENT = """
import http.client, sys
host, path, body = sys.argv[1:]
connection = http.client.HTTPConnection(host)
connection.request("POST", path, body, {"Content-Type": "application/json"})
answer = connection.getresponse()
print(answer.status, len(answer.read(20)), flush=True)
while answer.read(20): pass
"""
SOCKET_CLIENT = """
import asyncio, sys, aiohttp
async def main(host, path, message):
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{host}{path}") as socket:
        await socket.send_str(message)
        for _ in range(4): await socket.receive()
        print(200, flush=True)
        async for _ in socket: pass
asyncio.run(main(*sys.argv[1:]))
"""
SOCKETS: dict[str, dict[str, Any]] = {
    "/v1/stream": {"id": 1, "prompt": "One", **_LONG},
    "/v1/responses": {"type": "response.create", "input": "Hi", "max_output_tokens": 400, "ignore_eos": True},
}


@dataclass(frozen=True)
class Process:
    """A server, and what can be seen of it from outside."""

    url: str
    pid: int

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def num_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "/dashboard/state", timeout=20) as response:
            return json.load(response)

    def is_idle(self) -> bool:
        """Nothing runs or waits, and no sequence holds a block."""
        state = self.state()
        held = sum(group["num_held"] + group["num_shared"] for group in state["kv"])
        return (state["running"], state["waiting"], held) == (0, 0, 0)

    def answer(self) -> str:
        """A text that is the same each time, whatever else runs."""
        body = json.dumps({"prompt": "The answer", "max_tokens": 24, "temperature": 0, "ignore_eos": True, "cache_salt": "own"}).encode()
        call = urllib.request.Request(self.url + "/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(call, timeout=60) as response:
            return json.load(response)["choices"][0]["text"]


@pytest.fixture(scope="module")
def process(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    model = tmp_path_factory.mktemp("hard") / "tiny.gguf"
    write_model(model, smollm2, hidden=64, ffn=128, layers=2, heads=2, kv_heads=2, context=1024)
    flags = "--port=0 --served-model-name=tiny --log-stats-s=0 --resume-s=0.5 --idle-timeout-s=1.5 --body-timeout-s=1.5 --max-num-seqs=16"
    command = [sys.executable, "-m", "octavo", "serve", str(model), "--threads=1", *flags.split()]
    served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert served.stderr is not None
    log: list[str] = []
    while not (found := re.search(r"http://[\d.]+:\d+", log[-1] if log else "")):
        line = served.stderr.readline()
        assert line, "".join(log)
        log.append(line)
    threading.Thread(target=lambda: log.extend(served.stderr or ()), daemon=True).start()
    yield Process(found[0], served.pid)
    served.send_signal(signal.SIGTERM)
    assert served.wait(timeout=30) == 0
    assert not [line for line in log if "Traceback" in line]


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def unharmed(process: Process) -> Iterator[Process]:
    """The server, which must be as it was once the test is over: idle, with as many open files, and with the same answer."""
    answer = process.answer()
    until(process.is_idle)
    before = process.num_descriptors()
    yield process
    until(process.is_idle)
    until(lambda: process.num_descriptors() <= before)
    assert process.answer() == answer


def started(code: str, process: Process, path: str, body: dict[str, Any]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, process.host, path, json.dumps(body)], stdout=subprocess.PIPE, text=True)


def test_clients_that_are_killed_in_their_streams(unharmed: Process) -> None:
    clients = [started(CLIENT, unharmed, path, body) for path, body in STREAMS.items()]
    clients += [started(SOCKET_CLIENT, unharmed, path, message) for path, message in SOCKETS.items()]
    for client in clients:
        assert client.stdout is not None
        assert client.stdout.readline().startswith("200")
        client.kill()
        client.wait()
        client.stdout.close()


def test_slow_readers_hold_nobody_up(unharmed: Process) -> None:
    answer = unharmed.answer()
    before = unharmed.resident_bytes()
    slow = []
    for path, body in list(STREAMS.items()) * 4:
        data = json.dumps(body).encode()
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        reader.connect((unharmed.host.partition(":")[0], int(unharmed.host.rpartition(":")[2])))
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        reader.sendall(head.encode() + data)
        slow.append(reader)
    assert unharmed.answer() == answer
    assert unharmed.resident_bytes() - before < 64 << 20
    for reader in slow:
        reader.close()


def test_connections_that_fall_silent_are_closed(unharmed: Process) -> None:
    """Of a head that does not end, a body that does not come, a TLS greeting, a socket's handshake, and nothing at all."""
    host, port = unharmed.host.split(":")
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    greeting, handshake = b"\x16\x03\x01\x02\x00\x01", b"GET /v1/stream HTTP/1.1\r\nUpgrade: websocket\r\n"
    beginnings = [b"", b"POST /v1/comp", head, head + b'{"prompt"', greeting, handshake]
    silent = []
    for beginning in beginnings * 10:
        connection = socket.create_connection((host, int(port)))
        connection.sendall(beginning)
        silent.append(connection)
    unharmed.answer()
    for connection in silent:
        connection.settimeout(20)
        with suppress(ConnectionError):
            while connection.recv(4096):
                pass
        connection.close()


@pytest.fixture
async def session(unharmed: Process) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(unharmed.url, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


@pytest.mark.parametrize("path", GOOD)
async def test_malformed_requests_are_answered_one_by_one(unharmed: Process, session: aiohttp.ClientSession, path: str) -> None:
    """10,000 of each route where OCTAVO_TEST_ALL=1 asks for them."""
    rng = random.Random(path)
    before = 0
    for number in range(NUM_MALFORMED):
        if number == NUM_MALFORMED // 4:  # what is loaded once is loaded by now
            before = unharmed.resident_bytes()
        body = malformed(path, rng)
        async with session.post(path, data=body, headers={"Content-Type": "application/json"}) as response:
            said = await response.read()
            assert response.status < 500, (body[:1000], said[:1000])
            if response.status >= 400:
                assert b"rror" in said, (body[:1000], said[:1000])
    assert unharmed.resident_bytes() - before < _ROOM.get(path, 64 << 20)


@pytest.mark.parametrize("path", SOCKETS)
async def test_malformed_messages_leave_a_socket_open_or_close_it(unharmed: Process, session: aiohttp.ClientSession, path: str) -> None:
    of = "/v1/responses" if path == "/v1/responses" else "/v1/completions"
    rng = random.Random(path)
    opening = b'{"type":"response.create",' if path == "/v1/responses" else b'{"id":1,'
    for _ in range(NUM_MALFORMED // 20):
        async with session.ws_connect(path) as socket:
            for _ in range(20):
                body = malformed(of, rng)
                await socket.send_str((opening + body[1:] if rng.random() < 0.7 else body).decode(errors="replace"))
            await socket.send_str('{"type": "response.create", "input": 1}' if path == "/v1/responses" else "{}")
            with suppress(asyncio.TimeoutError):
                message = await socket.receive(20)
                assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED), message
