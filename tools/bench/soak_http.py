#!/usr/bin/env python3
"""The soak of `soak.py` over HTTP: whole answers, event streams, connections cut in mid-stream, bad requests. Nothing may grow.

    python tools/bench/soak_http.py [--requests 8000] [--kv-cache-mib 8] [--model MODEL | --no-model]

The server runs in this process, its clients in another, so that resident memory is the server's. `--no-model` serves words from a script,
which leaves the edge alone. Prints memory as it goes; exits 1 when a block is lost or memory grows after the first quarter.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import aiohttp
from soak import MAX_GROWTH_MIB, resident_mib

from octavo.assemble import build_engine
from octavo.config import EngineConfig, ServerConfig
from octavo.server.app import build_app
from octavo.server.event_loop import run
from octavo.server.listen import listen
from octavo.server.serve import make_runner, start_site

CONCURRENCY = 32
CUT_SHARE, BAD_SHARE, STREAM_SHARE, CHAT_SHARE = 0.25, 0.1, 0.6, 0.4


def random_body(index: int) -> tuple[str, dict[str, Any]]:
    """Return a path and a body; the same for the same index."""
    draw = random.Random(index)
    text = f"request {index} " + "word " * draw.randrange(40)
    body: dict[str, Any] = {"max_tokens": draw.randrange(1, 24), "stream": draw.random() < STREAM_SHARE, "ignore_eos": True}
    if draw.random() < BAD_SHARE:
        body["n"] = 0
    if draw.random() < CHAT_SHARE:
        return "/v1/chat/completions", body | {"messages": [{"role": "user", "content": text}]}
    return "/v1/completions", body | {"prompt": text}


async def one(http: aiohttp.ClientSession, index: int, gate: asyncio.Semaphore) -> None:
    path, body = random_body(index)
    async with gate, http.post(path, json=body) as response:
        if random.Random(~index).random() < CUT_SHARE:
            await response.content.read(10)
            response.close()
        else:
            await response.read()


async def load(url: str, num_requests: int) -> None:
    """Be the clients; print the number of requests done after each quarter."""
    gate = asyncio.Semaphore(CONCURRENCY)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as http:
        for quarter in range(4):
            indices = range(quarter * num_requests // 4, (quarter + 1) * num_requests // 4)
            await asyncio.gather(*(one(http, index, gate) for index in indices))
            print(indices.stop, flush=True)


def scripted_engine() -> Any:
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from fakes.scripted_engine import ScriptedEngine, words_script

    return ScriptedEngine(script=words_script("a few words to say"))


async def soak(engine: Any, num_requests: int) -> tuple[list[float], float]:
    """Serve the requests; returns resident MiB after each quarter and the share of blocks that are still held."""
    config = ServerConfig(port=0)
    app = build_app(engine, config)
    runner = make_runner(app)
    await engine.start()
    await runner.setup()
    rss = []
    with listen(config) as listener:
        await start_site(runner, app, listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, __file__, "--load", url, "--requests", str(num_requests)]
        clients = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        assert clients.stdout is not None
        async for line in clients.stdout:
            rss.append(resident_mib())
            print(f"{int(line)} requests, {rss[-1]:.1f} MiB resident", flush=True)
        assert await clients.wait() == 0, "the clients failed"
        usage = engine.stats().kv_usage
        await engine.close()
        await runner.cleanup()
    return rss, usage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=8000, help="how many (default: 8000)")
    parser.add_argument("--model", default="", help="model folder or .gguf file; empty: the default model")
    parser.add_argument(
        "--kv-cache-mib", type=int, default=8, help="KV cache: small, so that its pages are all in use after the first quarter"
    )
    parser.add_argument("--no-model", action="store_true", help="serve words from a script")
    parser.add_argument("--load", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        asyncio.run(load(options.load, options.requests))
        return
    engine = (
        scripted_engine()
        if options.no_model
        else build_engine(EngineConfig.of(model=options.model, kv_cache_bytes=options.kv_cache_mib << 20))
    )
    rss, usage = run(soak(engine, options.requests))
    print(f"memory grew {rss[-1] - rss[0]:+.1f} MiB after the first quarter")
    sys.exit((usage > 0 and not options.no_model) or rss[-1] - rss[0] > MAX_GROWTH_MIB)


if __name__ == "__main__":
    main()
