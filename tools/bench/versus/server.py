"""A server of either side under `octavo bench`'s client: when its first token comes, how it bears a load, what memory it takes."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from octavo.cli.bench.http_client import http_sender, open_session, served_model
from octavo.cli.bench.load import send_all
from octavo.cli.bench.summary import summarize
from octavo.cli.bench.workload import BenchRequest
from versus.sides import Side

__all__ = ["serve_load"]

READY_S = 300.0
POLL_S = 0.005
FIRST_REQUEST = BenchRequest([1] * 8, 1)


@dataclass(frozen=True)
class Server:
    """A server's process, not yet ready; `started` in seconds of `time.perf_counter`."""

    process: subprocess.Popen[bytes]
    base_url: str
    started: float

    def peak_mib(self) -> float:
        """Most resident memory so far, mapped weight files included."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


def serve_load(side: Side, requests: list[BenchRequest]) -> dict[str, float]:
    """Start a server, ask it for one token, then send all requests at once; figures as in `versus.table.METRICS`."""
    slot_len = max((len(request.prompt_token_ids) + request.output_len for request in requests), default=256) + 32
    with _spawn(side, max(len(requests), 1), slot_len) as server:
        return asyncio.run(_measure(server, requests))


@contextmanager
def _spawn(side: Side, num_slots: int, slot_len: int) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = side.serve_command(port, num_slots, slot_len)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Server(process, f"http://127.0.0.1:{port}", started)
    finally:
        process.terminate()
        process.wait()


async def _measure(server: Server, requests: list[BenchRequest]) -> dict[str, float]:
    # A session for each part: llama-server ends connections after a stream, and the load must not begin on one that is being ended.
    async with open_session(server.base_url, None) as session:
        await _until_ready(session, server)
    async with open_session(server.base_url, None) as session:
        model = await served_model(session)
        first = await http_sender(session, model)(FIRST_REQUEST)
    figures = {"first_token_s": first.arrivals[0][0] - server.started}
    if requests:
        async with open_session(server.base_url, None) as session:
            timelines = await send_all(http_sender(session, model), requests, concurrency=None, request_rate=None)
        figures |= _figures(summarize(timelines, sum(request.output_len for request in requests)))
    return figures | {"peak_mib": server.peak_mib()}


async def _until_ready(session: aiohttp.ClientSession, server: Server) -> None:
    while time.perf_counter() < server.started + READY_S:
        if server.process.poll() is not None:
            break
        with suppress(aiohttp.ClientConnectionError):  # it does not listen yet
            async with session.get("/health") as response:
                if response.status == 200:
                    return
        await asyncio.sleep(POLL_S)
    raise SystemExit(f"`{' '.join(map(str, server.process.args))}` did not become ready; run it by hand to see why")


def _figures(results: dict) -> dict[str, float]:
    if results["failed"] or results["output_tokens"] != results["expected_output_tokens"]:
        raise SystemExit(f"{results['failed']} requests failed, {results['output_tokens']} tokens came: {results['errors']}")
    return {
        "output_tokens_per_s": results["output_tokens_per_s"],
        "ttft_p50_ms": results["ttft_ms"]["p50"],
        "itl_p50_ms": results["itl_ms"]["p50"],
        "itl_p99_ms": results["itl_ms"]["p99"],
    }
