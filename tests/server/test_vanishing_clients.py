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
from fakes.scripted_engine import ScriptedEngine, endless_script, words_script
from octavo.config import ServerConfig
from octavo.server.app import build_app
from octavo.server.listen import listen
from octavo.server.serve import make_runner, start_site

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


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_half_closed_client_gets_its_answer(start_server: StartServer, path: str, stream: bool) -> None:
    server = await start_server(ScriptedEngine("one two three", script=words_script("one two three", 0.05)))
    for _ in range(3):
        reader, writer = await send(server, path, {**BODIES[path], "n": 1, "stream": stream, "max_tokens": 100})
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        assert b" 200 OK" in answer
        assert b"three" in answer
        assert answer.endswith(b"0\r\n\r\n" if stream else b"}")
        writer.close()
    assert not server.engine.aborted


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_closes_is_not_taken_for_one_that_waits(start_server: StartServer, stream: bool) -> None:
    async def silent(request):
        await asyncio.Event().wait()
        yield

    server = await start_server(ScriptedEngine(script=silent))
    _, writer = await send(server, "/v1/completions", {"prompt": "a", "stream": stream})
    writer.close()
    await until(lambda: len(server.engine.aborted) == 1 and server.engine.num_live == 0)


async def test_what_is_not_http_is_a_line_at_debug(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "octavo")
    shapes = (b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", b"POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    for raw in (*shapes, b"\x16\x03\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(raw)
        assert b" 400 " in await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
        writer.close()
    lines = [record for record in caplog.records if record.name.startswith(("octavo", "aiohttp"))]
    assert len(lines) <= 4
    assert all(record.levelname == "DEBUG" and record.exc_info is None and "\n" not in record.getMessage() for record in lines)


def test_half_closed_and_gone_are_told_apart_on_uvloop_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def ask(port: int, *, stream: bool, close: bool) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"prompt": "a", "max_tokens": 99, "stream": stream})
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        if close:
            writer.close()
            return b""
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)

    async def scenario() -> None:
        engine = ScriptedEngine(script=words_script("one two three", 0.1))
        config = ServerConfig(port=0)
        app = build_app(engine, config)
        runner = make_runner(app)
        await runner.setup()
        with listen(config) as listener:
            await start_site(runner, app, listener)
            port = listener.getsockname()[1]
            for num_aborted, stream in enumerate((True, False)):
                assert b"three" in await ask(port, stream=stream, close=False)
                assert len(engine.aborted) == num_aborted
                await ask(port, stream=stream, close=True)
                await until(lambda expected=num_aborted + 1: len(engine.aborted) == expected)
            await runner.cleanup()

    uvloop.run(scenario())
