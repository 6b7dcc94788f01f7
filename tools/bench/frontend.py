#!/usr/bin/env python3
"""How many tokens a second the server hands to many clients, with a model that computes nothing.

    python tools/bench/frontend.py [--clients 256] [--tokens-per-s 100] [--transport sse|websocket] [--seconds 10] [--frontends 2] [--pin]

Starts `octavo serve synthetic:tokens_per_s=...`, opens a stream for each client and counts what comes, without parsing it: a client in
Python that did would be slower than the server. Meanwhile /health is asked every 20 ms. With --pin the server has core 0 and the client
the others. Of the server's own loop the lag is what /metrics says (octavo_loop_lag_seconds).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import quantiles
from typing import cast

import aiohttp
import uvloop

__all__ = ["measure"]

HEALTH_PAUSE_S = 0.02
WARM_S = 1.0
BODY = {"model": "synthetic", "prompt": "x", "stream": True, "stream_options": {"include_usage": True}}


class Counter(asyncio.Protocol):
    """One client's connection: sends its request and counts the events that come back."""

    def __init__(self, request: bytes, mark: bytes) -> None:
        self._request = request
        self._mark = mark
        self.num_events = 0
        self.tail = b""
        self.ended = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has another base
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.num_events += data.count(self._mark)  # a mark that is cut in two is not counted: one in some thousands
        self.tail = (self.tail + data)[-4096:] if len(data) < 4096 else data[-4096:]
        if b"[DONE]" in data or b'"done"' in data:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self._transport is not None:
            self._transport.close()

    def num_tokens(self) -> int:
        """What the server says that it sent; 0 where the stream did not end well."""
        mark = b'"completion_tokens":'
        return int(self.tail.rpartition(mark)[2].partition(b",")[0]) if mark in self.tail else 0


def sse_request(port: int, num_tokens: int) -> bytes:
    body = json.dumps(BODY | {"max_tokens": num_tokens}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def websocket_request(port: int, num_tokens: int) -> bytes:
    """The handshake and, right behind it, one masked text frame (RFC 6455; a mask of zeros leaves it readable)."""
    body = json.dumps(BODY | {"id": 1, "max_tokens": num_tokens}).encode()
    head = (
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return head.encode() + bytes([0x81, 0x80 | 126]) + len(body).to_bytes(2, "big") + bytes(4) + body


TRANSPORTS = {"sse": (sse_request, b"\ndata: {"), "websocket": (websocket_request, b'"type":"chunk"')}


async def watch_health(session: aiohttp.ClientSession, times: list[float]) -> None:
    while True:
        started = time.perf_counter()
        async with session.get("/health") as response:
            await response.read()
        times.append(time.perf_counter() - started)
        await asyncio.sleep(HEALTH_PAUSE_S)


async def measure(port: int, pid: int, transport: str, num_clients: int, num_tokens: int) -> dict[str, float]:
    """Run one stream of `num_tokens` for each client; rates are those between the first second and the first stream's end.

    Args:
        pid: the server's process, whose processor time is read.
    """
    make_request, mark = TRANSPORTS[transport]
    request = make_request(port, num_tokens)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    clients = [(await loop.create_connection(lambda: Counter(request, mark), "127.0.0.1", port))[1] for _ in range(num_clients)]
    health: list[float] = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        await asyncio.sleep(WARM_S)
        lags = await loop_lags(session)
        watch = asyncio.create_task(watch_health(session, health))
        started, cpu_s, before = time.perf_counter(), processor_s(pid), sum(client.num_events for client in clients)
        await asyncio.wait([client.ended for client in clients], return_when=asyncio.FIRST_COMPLETED)
        seconds, cpu_s, num_events = time.perf_counter() - started, processor_s(pid) - cpu_s, sum(c.num_events for c in clients) - before
        watch.cancel()
        await asyncio.wait([client.ended for client in clients], timeout=60)
        total_s = time.perf_counter() - began
        later = await loop_lags(session)
    total_tokens = sum(client.num_tokens() for client in clients)
    return {
        "events_per_s": num_events / seconds,
        "cpu_us_per_event": 1e6 * cpu_s / num_events,
        "cpu_share": cpu_s / seconds,
        "tokens_per_s": total_tokens / total_s,
        "missing_tokens": num_clients * num_tokens - total_tokens,
        "health_p50_ms": 1e3 * quantiles(health, n=100)[49],
        "health_p99_ms": 1e3 * quantiles(health, n=100)[98],
        **lag_p99({bound: count - lags.get(bound, 0) for bound, count in later.items()}),
    }


def processor_s(pid: int) -> float:
    """User and system time of a process and of its children that are alive, seconds."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(processor_s(int(child)) for child in children)


async def loop_lags(session: aiohttp.ClientSession) -> dict[float, float]:
    """Upper bound of a lag -> how often the server's loop was no later, so far."""
    async with session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    buckets = [line.partition('le="')[2].split('"} ') for line in lines if line.startswith("octavo_loop_lag_seconds_bucket")]
    return {float(bound): float(count) for bound, count in buckets}


def lag_p99(counts: dict[float, float]) -> dict[str, float]:
    """The 99th percentile, as the upper bound of its bucket; nothing where nothing was measured."""
    total = max(counts.values(), default=0)
    return {"loop_lag_p99_ms": 1e3 * min(bound for bound, count in counts.items() if count >= 0.99 * total)} if total else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--tokens-per-s", type=float, default=100.0, help="of each client (default: 100)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each stream at that pace (default: 10)")
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="sse")
    parser.add_argument("--serve-args", default="", metavar="FLAGS", help="further flags of octavo serve, in quotes")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write a cProfile of the server's main thread")
    parser.add_argument("--pin", action="store_true", help="the server on the first core, the client on the others")
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, *(["-m", "cProfile", "-o", str(options.profile)] if options.profile else []), "-m", "octavo"]
    command += ["serve", f"synthetic:tokens_per_s={options.tokens_per_s}", "--port", str(port), *options.serve_args.split()]
    pin = ["taskset", "-c", str(cores[0])] if options.pin else []
    server = subprocess.Popen([*pin, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if options.pin and len(cores) > 1:
        os.sched_setaffinity(0, cores[1:])
    try:
        wait_ready(port)
        figures = uvloop.run(measure(port, server.pid, options.transport, options.clients, int(options.seconds * options.tokens_per_s)))
    finally:
        server.terminate()
        server.wait()
    print(json.dumps({key: round(value, 2) for key, value in figures.items()}))


def wait_ready(port: int) -> None:
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the server did not become ready")


if __name__ == "__main__":
    main()
