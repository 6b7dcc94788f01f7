"""`octavo serve --frontends 2`: real processes over a model that computes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

BODY = {"prompt": "x", "max_tokens": 150, "stream": True}


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "octavo", "serve", "synthetic:tokens_per_s=50", "--frontends", "2", "--port", str(port)]
    process = subprocess.Popen([*command, "--shutdown-s", "5"])
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def healthy(session: aiohttp.ClientSession) -> None:
    for _ in range(600):
        try:
            async with session.get("/health") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("the server did not become ready")


async def stream(url: str) -> bool:
    """Whether a stream on a connection of its own comes to its end."""
    async with aiohttp.ClientSession(url) as session:
        try:
            async with session.post("/v1/completions", json=BODY) as response:
                return (await response.text()).endswith("data: [DONE]\n\n")
        except aiohttp.ClientError:
            return False


async def until_running(session: aiohttp.ClientSession, num_requests: int) -> None:
    for _ in range(200):
        async with session.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        if f"octavo_num_requests_running {num_requests}.0" in lines:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"there are not {num_requests} requests running")


async def test_a_front_end_that_dies_takes_its_own_streams_only_and_is_replaced(server: tuple[subprocess.Popen[bytes], str]):
    process, url = server
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(force_close=True)) as session:
        await healthy(session)
        first = children(process.pid)
        assert len(first) == 2
        streams = [asyncio.create_task(stream(url)) for _ in range(24)]
        await until_running(session, 24)
        os.kill(first[0], signal.SIGKILL)
        ended_well = await asyncio.gather(*streams)
        assert any(ended_well) and not all(ended_well)
        await healthy(session)
        assert all(await asyncio.gather(*(stream(url) for _ in range(24))))
        second = children(process.pid)
        assert len(second) == 2 and first[1] in second and first[0] not in second
        await until_running(session, 0)


async def test_sigterm_lets_streams_finish_and_nobody_outlives_the_server(server: tuple[subprocess.Popen[bytes], str]):
    process, url = server
    async with aiohttp.ClientSession(url) as session:
        await healthy(session)
        fronts = children(process.pid)
        streams = [asyncio.create_task(stream(url)) for _ in range(8)]
        await until_running(session, 8)
    process.send_signal(signal.SIGTERM)
    assert all(await asyncio.gather(*streams))
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert not any(alive(pid) for pid in fronts)


async def test_front_ends_end_with_the_engine(server: tuple[subprocess.Popen[bytes], str]):
    process, url = server
    async with aiohttp.ClientSession(url) as session:
        await healthy(session)
    fronts = children(process.pid)
    process.kill()
    for _ in range(200):
        if not any(alive(pid) for pid in fronts):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a front-end outlives its engine")


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_two_servers_do_not_share_a_port_unasked(server: tuple[subprocess.Popen[bytes], str]):
    process, url = server
    asyncio.run(ready(url))
    command = [sys.executable, "-m", "octavo", "serve", "synthetic:", "--frontends", "2", "--port", url.rpartition(":")[2]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and "another program uses the port" in done.stderr
    assert process.poll() is None


async def ready(url: str) -> None:
    async with aiohttp.ClientSession(url) as session:
        await healthy(session)
