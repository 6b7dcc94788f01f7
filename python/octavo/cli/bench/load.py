"""Sending a workload: at once, at a concurrency, or as a Poisson process of a given rate."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from octavo.cli.bench.timeline import Timeline
from octavo.cli.bench.workload import BenchRequest
from octavo.cli.options import positive_int
from octavo.cli.parser import UsageError

__all__ = ["Send", "add_load_options", "send_all", "warm_up"]

Send = Callable[[BenchRequest], Awaitable[Timeline]]
_WARM_UP = BenchRequest([1] * 8, 4)


def add_load_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("load")
    group.add_argument("--concurrency", type=positive_int, metavar="N", help="requests under way at any time (default: all)")
    group.add_argument("--request-rate", type=float, metavar="X", help="requests per second, with Poisson arrivals")


async def send_all(send: Send, requests: Sequence[BenchRequest], *, concurrency: int | None, request_rate: float | None) -> list[Timeline]:
    """Send every request and return the timelines in the order of the requests.

    Args:
        concurrency: most requests under way; None: no limit.
        request_rate: mean arrivals per second, gaps drawn from an exponential distribution of a fixed seed; None: all are due at once.
    """
    if request_rate is not None and request_rate <= 0:
        raise UsageError(f"--request-rate is {request_rate}; it must be greater than 0")
    slots = asyncio.Semaphore(concurrency or len(requests))
    gaps = np.random.default_rng(0).exponential(1 / request_rate, len(requests)) if request_rate else np.zeros(len(requests))
    due = time.perf_counter() + np.cumsum(gaps)

    async def one(request: BenchRequest) -> Timeline:
        async with slots:
            return await send(request)

    tasks: list[asyncio.Task[Timeline]] = []
    try:
        for request, at in zip(requests, due, strict=True):  # one after the other: those that are late keep their order
            if (wait := at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(one(request)))
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def warm_up(send: Send) -> None:
    """Send one short request that is not measured: first uses of code and memory are not what is compared."""
    timeline = await send(_WARM_UP)
    if timeline.error:
        raise UsageError(f"the warm-up request failed: {timeline.error}")
