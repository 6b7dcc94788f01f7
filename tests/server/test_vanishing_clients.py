"""Clients that go away or read nothing: their requests are aborted, memory stays bounded, the server goes on."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import time
from collections.abc import Callable

import pytest

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, endless_script

BODIES = {
    "/v1/completions": {"prompt": ["a", "b"]},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
}


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def send(server: Server, path: str, body: dict) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]), limit=2**12)
    data = json.dumps(body).encode()
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(data))
        + data
    )
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_vanishes_ends_its_requests(start_server: StartServer, path: str, stream: bool) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01)))
    reader, writer = await send(server, path, {**BODIES[path], "stream": stream})
    if stream:
        await reader.readuntil(b"data: ")
    await until(lambda: server.engine.num_live > 0)
    writer.transport.abort()
    await until(lambda: server.engine.num_live == 0)
    assert len(server.engine.aborted) == len(server.engine.requests)


async def test_a_client_that_vanishes_while_it_waits_in_the_queue(start_server: StartServer) -> None:
    async def silent(request):
        await asyncio.Event().wait()
        yield

    server = await start_server(ScriptedEngine(script=silent))
    _, writer = await send(server, "/v1/completions", {"prompt": "a", "stream": True})
    await until(lambda: server.engine.num_live == 1)
    writer.close()
    await until(lambda: server.engine.num_live == 0)


@pytest.mark.parametrize("prompt", ["a", ["a", "b"]])
async def test_a_client_that_reads_nothing_is_cut_off(start_server: StartServer, prompt: object) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(text="x" * 10_000)), stall_s=0.3)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, writer = await send(server, "/v1/completions", {"prompt": prompt, "stream": True})
    writer.transport.pause_reading()
    await until(lambda: server.engine.num_live > 0)
    await until(lambda: server.engine.num_live == 0, 20)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 100 * 1024
    writer.transport.abort()
    status, _ = await server.post("/tokenize", {"prompt": "alive"})
    assert status == 200


async def test_a_slow_reader_is_not_cut_off_and_loses_nothing(start_server: StartServer) -> None:
    """Its answer is larger than the kernel's buffers; what it does not read in time is merged, never dropped."""
    answer = " ".join(f"{number}:" + "x" * 50_000 for number in range(100))
    server = await start_server(ScriptedEngine(answer, max_model_len=10**8), stall_s=5.0)
    reader, writer = await send(server, "/v1/chat/completions", {**BODIES["/v1/chat/completions"], "stream": True})
    await asyncio.sleep(0.3)
    raw = b""
    while b"[DONE]" not in raw[-100:]:
        raw += await reader.read(2**16)
    writer.close()
    events = re.findall(rb"^data: (\{.*\})\r?$", raw, re.MULTILINE)
    choices = [json.loads(event)["choices"][0] for event in events]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == answer
    assert choices[-1]["finish_reason"] == "stop"
    assert not server.engine.aborted
