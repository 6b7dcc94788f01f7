"""`octavo bench startup`: from the start of the server's process to ready, and to the first token of a request."""

from __future__ import annotations

import argparse
import asyncio
from statistics import median

from octavo.cli.bench.http_client import http_sender, open_session, served_model
from octavo.cli.bench.report import report
from octavo.cli.bench.server_process import ServerProcess, spawn_server
from octavo.cli.bench.summary import distribution
from octavo.cli.bench.workload import BenchRequest
from octavo.cli.options import add_options, from_options, positive_int, to_flags
from octavo.config import EngineConfig
from octavo.errors import OctavoError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--num-starts", type=positive_int, default=5, metavar="N", help="how often to start (default: 5)")
    add_options(parser, EngineConfig, "engine")


def run(args: argparse.Namespace) -> int:
    flags = to_flags(from_options(EngineConfig, args))
    to_ready, to_first_token = [], []
    for _ in range(args.num_starts):
        with spawn_server(flags) as server:
            to_ready.append(server.ready - server.started)
            to_first_token.append(asyncio.run(_first_token(server)) - server.started)
    results = {"ready_ms": distribution(to_ready), "first_token_ms": distribution(to_first_token)}
    rows = {"process start to ready": _spread(to_ready), "process start to first token": _spread(to_first_token)}
    report(args, {"engine_flags": flags, "num_starts": args.num_starts}, results, rows)
    return 0


async def _first_token(server: ServerProcess) -> float:
    """Return when the first token of a short request arrived."""
    async with open_session(server.base_url, None) as session:
        timeline = await http_sender(session, await served_model(session))(BenchRequest([1] * 8, 1))
    if timeline.error or not timeline.arrivals:
        raise OctavoError(f"the first request failed: {timeline.error}")
    return timeline.arrivals[0][0]


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s median ({min(seconds):.2f} to {max(seconds):.2f} s, {len(seconds)} starts)"
