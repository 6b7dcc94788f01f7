#!/usr/bin/env python3
"""What the server's edge costs: python tools/bench/edge.py [--model MODEL] [--requests 100] [--sockets 2000]

Three figures, each with the limit that it is held to:
- what the server adds to a first token at concurrency 1: from the client's sending of a short streamed chat to its first token, less the
  engine's own time to it (from the submission of the tokens to the first one), median and 90th percentile;
- parsing, validating, templating and tokenizing a chat of about 1,000 tokens, the same, in processor time of the event loop's thread;
- resident memory of idle WebSockets.
The server runs in this process, its clients in another one. Exits 1 where a median or the memory exceeds its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from subprocess import PIPE
from typing import Any

import aiohttp
import orjson
from soak import resident_mib

from octavo.assemble import build_engine
from octavo.config import EngineConfig, ServerConfig
from octavo.server.app import build_app
from octavo.server.edge.body import parse_body, parse_json
from octavo.server.edge.context import CONTEXT, ServerContext
from octavo.server.event_loop import run
from octavo.server.listen import listen
from octavo.server.openai.chat import prepare_chat
from octavo.server.openai.protocol import ChatBody
from octavo.server.serve import make_runner, start_site

MAX_ADDED_MS, MAX_CHAT_MS, MAX_SOCKETS_MIB = 3.0, 3.0, 50.0
CHAT = {"messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 2, "temperature": 0, "stream": True}
SENTENCE = "The river begins in the mountains, crosses the plain and reaches the sea after nine hundred kilometres. "
WARM_UP = 5


class FirstTokens:
    """An `EngineObserver` that keeps the engine's times to first tokens, seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def queued(self, request: Any) -> None:
        """See `EngineObserver`."""

    def first_token(self, request: Any, ttft_s: float) -> None:
        """See `EngineObserver`."""
        self.seconds.append(ttft_s)

    def inter_token(self, request: Any, itl_s: float) -> None:
        """See `EngineObserver`."""

    def finished(self, request: Any, summary: Any) -> None:
        """See `EngineObserver`."""


def time_first_tokens(port: int, count: int) -> list[float]:
    """Be the client: seconds to the first token of each of `count` streams, one after the other over one connection of plain sockets."""
    body = json.dumps(CHAT).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    seconds = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began, received, first = time.perf_counter(), b"", 0.0
            connection.sendall(head.encode() + body)
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received += connection.recv(65536)
                if not first and b'"delta":{"content"' in received:
                    first = time.perf_counter() - began
            seconds.append(first)
    return seconds


async def hold_sockets(port: int, count: int) -> None:
    """Be the client: open `count` WebSockets, say so, hold them until standard input ends."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        held = [await session.ws_connect(f"ws://127.0.0.1:{port}/v1/stream") for _ in range(count)]
        print(len(held), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def client(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, stdin=PIPE, stdout=PIPE)


async def added_ms(observer: FirstTokens, port: int, count: int) -> list[float]:
    """What each request's first token took beyond the engine, milliseconds."""
    observer.seconds.clear()
    process = await client("--first-tokens", str(port), "--requests", str(count + WARM_UP))
    told, _ = await process.communicate()
    return [(whole - own) * 1e3 for whole, own in zip(json.loads(told), observer.seconds, strict=True)][WARM_UP:]


async def chat_ms(context: ServerContext, count: int) -> tuple[int, list[float]]:
    """Tokens of a chat, and what each of `count` different ones took from bytes to token ids, milliseconds of the thread."""
    sizes, times = [], []
    for index in range(count + WARM_UP):
        turns = [{"role": ("user", "assistant")[turn % 2], "content": f"{index}.{turn}: {SENTENCE * 5}"} for turn in range(9)]
        raw = orjson.dumps({"messages": turns, "max_tokens": 16})
        began = time.thread_time()
        chat = await prepare_chat(context, parse_body(parse_json(raw), ChatBody), f"chat-{index}")
        times.append((time.thread_time() - began) * 1e3)
        sizes.append(len(chat.request.prompt_token_ids))
    return sizes[-1], times[WARM_UP:]


async def sockets_mib(port: int, count: int) -> float:
    """What `count` idle WebSockets add to this process."""
    await (await client("--sockets", "20", "--hold", str(port))).communicate(b"")  # what the first ones bring in stays
    before = resident_mib()
    process = await client("--sockets", str(count), "--hold", str(port))
    assert process.stdout is not None
    await process.stdout.readline()
    grown = resident_mib() - before
    await process.communicate(b"")
    return grown


def verdict(name: str, values: Sequence[float], most: float) -> bool:
    """Print a line; whether the median is within its limit."""
    median, tail = statistics.median(values), statistics.quantiles(values, n=10)[-1]
    print(f"{name}: p50 {median:.2f} ms, p90 {tail:.2f} ms (limit of the median {most:.1f})")
    return median <= most


async def measure(options: argparse.Namespace) -> bool:
    engine = build_engine(EngineConfig.of(model=options.model, max_num_seqs=4))
    observer, config = FirstTokens(), ServerConfig(port=0)
    engine.add_observer(observer)
    app = build_app(engine, config)
    runner = make_runner(app)
    await engine.start()
    await runner.setup()
    with listen(config) as listener:
        await start_site(runner, app, listener)
        port = listener.getsockname()[1]
        first = verdict("added to a first token", await added_ms(observer, port, options.requests), MAX_ADDED_MS)
        num_tokens, times = await chat_ms(app[CONTEXT], options.requests)
        chat = verdict(f"a chat of {num_tokens} tokens, from bytes to token ids", times, MAX_CHAT_MS)
        mib = await sockets_mib(port, options.sockets)
        print(f"{options.sockets} idle WebSockets: {mib:.1f} MiB (limit {MAX_SOCKETS_MIB:.0f} for 2,000)")
        await engine.close()
        await runner.cleanup()
    return first and chat and mib <= MAX_SOCKETS_MIB * options.sockets / 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="model folder or .gguf file; empty: the default model")
    parser.add_argument("--requests", type=int, default=100, help="how many of each kind (default: 100)")
    parser.add_argument("--sockets", type=int, default=2000, help="how many idle WebSockets (default: 2000)")
    parser.add_argument("--first-tokens", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--hold", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if options.first_tokens:
        print(json.dumps(time_first_tokens(options.first_tokens, options.requests)))
    elif options.hold:
        asyncio.run(hold_sockets(options.hold, options.sockets))
    else:
        sys.exit(not run(measure(options)))


if __name__ == "__main__":
    main()
