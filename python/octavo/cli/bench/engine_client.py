"""Sends benchmark requests to an engine in this process."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from octavo.cli.bench.load import send_all, warm_up
from octavo.cli.bench.report import check_report_options, report_run
from octavo.cli.bench.summary import summarize
from octavo.cli.bench.timeline import Timeline
from octavo.cli.bench.workload import BenchRequest, Workload, load_workload
from octavo.cli.options import from_options
from octavo.config import EngineConfig, to_flat
from octavo.errors import OctavoError
from octavo.types import GenerationRequest, SamplingParams

if TYPE_CHECKING:
    from octavo.engine.port import Engine

__all__ = ["engine_sender", "run_in_process"]


def engine_sender(engine: Engine) -> Callable[[BenchRequest], Awaitable[Timeline]]:
    """Return the function that sends one request to a started engine and writes down when its tokens come."""
    ids = itertools.count()

    async def send(request: BenchRequest) -> Timeline:
        timeline = Timeline(time.perf_counter(), len(request.prompt_token_ids))
        params = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=request.output_len)
        try:
            async with await engine.submit(GenerationRequest(f"bench-{next(ids)}", request.prompt_token_ids, params)) as stream:
                async for delta in stream:
                    if delta.token_ids:
                        timeline.arrivals.append((time.perf_counter(), len(delta.token_ids)))
                    timeline.num_cached_tokens = delta.num_cached_tokens
                    timeline.error = delta.error
        except OctavoError as error:
            timeline.error = str(error)
        timeline.ended = time.perf_counter()
        return timeline

    return send


def run_in_process(args: argparse.Namespace, *, concurrency: int | None, request_rate: float | None = None) -> int:
    """Build the engine of the flags, send it the workload of the flags, report."""
    check_report_options(args)
    from octavo.assemble import build_engine

    config = from_options(EngineConfig, args)
    engine = build_engine(config)
    workload = load_workload(args, engine.info.vocab_size)
    most = min(concurrency or config.scheduling.max_waiting, config.scheduling.max_waiting)
    timelines = asyncio.run(_measure(engine, workload, most, request_rate))
    setting: dict[str, Any] = {
        "engine": to_flat(config),
        "model": asdict(engine.info),
        "workload": workload.description,
        "concurrency": most,
    }
    results = summarize(timelines, sum(request.output_len for request in workload.requests))
    return report_run(args, setting, results, timelines)


async def _measure(engine: Engine, workload: Workload, concurrency: int, request_rate: float | None) -> list[Timeline]:
    send = engine_sender(engine)
    await engine.start()
    try:
        await warm_up(send)
        return await send_all(send, workload.requests, concurrency=concurrency, request_rate=request_rate)
    finally:
        await engine.close()
