#!/usr/bin/env python3
"""Where the time of a decode step goes: kernels, and everything around them.

    python tools/bench/step_profile.py [--streams 1 8 32] [--http] [--model MODEL] [--arithmetic exact]

Serves `streams` requests of 128 / 128 tokens at once and prints medians over the steps in which all of them decode: first the runner
thread (its lines make up the period of a step), then the event loop, which works beside it, and the processor time of either.
`--http` sends the requests over HTTP from a process of its own. OCTAVO_PROFILE is set: op times come from the step program itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

os.environ["OCTAVO_PROFILE"] = "1"

from octavo.assemble import build_engine
from octavo.cli.bench.engine_client import engine_sender
from octavo.cli.bench.load import send_all, warm_up
from octavo.cli.bench.workload import BenchRequest, _tokens
from octavo.config import EngineConfig, ServerConfig
from octavo.engine import AsyncEngine

__all__ = ["StepTimes", "profile"]

INPUT_LEN = OUTPUT_LEN = 128
RUNNER = ("kernels", "kernels: return to Python", "sampling", "apply", "prepare", "append", "result", "gap")
LOOP = ("schedule", "wake", "update", "hand out", "loop cpu", "runner cpu")


class StepTimes:
    """Seconds by step and part. Each part is added to by one thread; parts of a step may come from several."""

    def __init__(self) -> None:
        self.by_step: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.num_decoding: dict[int, int] = {}

    def timed(self, owner: Any, name: str, part: str, step_of: Callable[[], int]) -> None:
        """Replace a method of an object by one that adds its time to `part` of the step that `step_of()` names."""
        method = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self.by_step[step_of()][part] += time.perf_counter() - started

        setattr(owner, name, call)

    def table(self, streams: int) -> str:
        """Medians in milliseconds, and shares of the period, over the steps in which `streams` sequences decode."""
        steps = [step for step, count in self.num_decoding.items() if count == streams and self.by_step[step]["period"]]
        steps = steps[len(steps) // 10 :]
        ops = sorted({part for step in steps for part in self.by_step[step] if part.startswith("  ")})
        typical = {part: median(self.by_step[step][part] for step in steps) * 1e3 for part in ("period", *ops, *RUNNER, *LOOP)}
        period = typical["period"]
        outside = sum(typical[part] for part in RUNNER if part not in ("kernels", "sampling"))
        lines = [f"{streams} streams, {len(steps)} steps of {period:.3f} ms; outside kernels {outside:.3f} ms, {outside / period:.1%}"]
        lines += [f"  {part:28}{typical[part]:9.3f} ms {typical[part] / period:7.1%}" for part in (RUNNER[0], *ops, *RUNNER[1:], *LOOP)]
        return "\n".join(lines)


class Proxy:
    """Stands for an extension object, whose methods cannot be replaced."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def watch_runner(times: StepTimes, runner: Any) -> None:
    """Time the parts of `HostExecutor.launch`, on the runner's thread."""
    running = [0]
    ended = [0.0, 0.0]
    executor = runner._executor
    forward, batch = executor._forward, executor._batch
    program, execute = forward.program, forward.execute
    forward.execute = lambda _, *media: execute(batch, *media)  # the extension takes its own type, not the proxy
    executor._batch, executor._sampler = Proxy(batch), Proxy(executor._sampler)
    for owner, name, part in (
        (executor, "_apply", "apply"),
        (executor._batch, "prepare", "prepare"),
        (executor._batch, "append_tokens", "append"),
        (forward, "execute", "execute"),
        (executor._sampler, "sample", "sampling"),
    ):
        times.timed(owner, name, part, lambda: running[0])
    launch = executor.launch

    def step(plan: Any) -> None:
        started = time.perf_counter()
        step_times = times.by_step[plan.step_id]
        running[0] = plan.step_id
        times.num_decoding[plan.step_id] = len(plan.rows) if sum(plan.num_scheduled_tokens) == len(plan.rows) else 0
        launch(plan)
        now = time.perf_counter()
        ops = program.profile()
        step_times.update({f"  {op}": seconds for op, (_, seconds) in ops.items()})
        kernels = sum(seconds for _, seconds in ops.values())
        step_times["kernels"] = kernels
        step_times["kernels: return to Python"] = step_times["execute"] - kernels
        around = sum(step_times[part] for part in ("apply", "prepare", "execute", "sampling", "append"))
        step_times["result"] = now - started - around
        step_times["gap"] = started - ended[0]
        step_times["period"] = now - ended[0] if times.num_decoding[plan.step_id] == times.num_decoding.get(plan.step_id - 1) else 0.0
        step_times["runner cpu"] = time.thread_time() - ended[1]
        step_times["ended"] = time.perf_counter()
        ended[:] = step_times["ended"], time.thread_time()

    executor.launch = step


def watch_core(times: StepTimes, scheduler: Any, engine: Any) -> None:
    """Time the parts of a step on the event loop: those of `EngineCore.step`, and what the front makes of its outputs."""
    cpu = [0.0]
    taken = [0]
    update = scheduler.update

    def take(result: Any) -> Any:
        started = time.perf_counter()
        taken[0] = result.step_id
        step_times = times.by_step[result.step_id]
        step_times["wake"] = started - step_times["ended"]
        step_times["loop cpu"], cpu[0] = time.thread_time() - cpu[0], time.thread_time()
        outputs = update(result)
        step_times["update"] = time.perf_counter() - started
        return outputs

    times.timed(scheduler, "schedule", "schedule", lambda: scheduler._num_steps - 1)
    scheduler.update = take
    times.timed(engine, "_take", "hand out", lambda: taken[0])


async def load_in_process(engine: AsyncEngine, streams: int) -> None:
    send = engine_sender(engine)
    requests = [BenchRequest(_tokens([0, index], INPUT_LEN, engine.info.vocab_size), OUTPUT_LEN) for index in range(streams)]
    await warm_up(send)
    await send_all(send, requests, concurrency=streams, request_rate=None)


async def load_over_http(engine: AsyncEngine, streams: int) -> None:
    from octavo.server.app import build_app
    from octavo.server.serve import make_runner

    server = make_runner(build_app(engine, ServerConfig()))
    await server.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    from aiohttp import web

    await web.SockSite(server, listener).start()
    with tempfile.NamedTemporaryFile("rb", suffix=".json") as report:
        command = [sys.executable, "-m", "octavo", "bench", "serve", "--base-url", f"http://127.0.0.1:{listener.getsockname()[1]}"]
        command += ["--num-prompts", str(streams), "--concurrency", str(streams), "--json", report.name]
        client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        await client.wait()
        results = json.load(report)["results"]
    itl_ms = results["itl_ms"]
    print(f"{results['output_tokens_per_s']:.1f} output tokens/s, ITL p50 {itl_ms['p50']:.2f} ms, p99 {itl_ms['p99']:.2f} ms")
    await server.cleanup()


async def profile(config: EngineConfig, streams: int, http: bool) -> StepTimes:
    """Serve `streams` equal requests at once and return the times of the steps."""
    engine = build_engine(config)
    times = StepTimes()
    engine_core = engine.core.engine_core
    watch_runner(times, engine_core._runner)
    watch_core(times, engine_core.scheduler, engine)
    await engine.start()
    await (load_over_http if http else load_in_process)(engine, streams)
    await engine.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 32], help="requests at once (default: 1 32)")
    parser.add_argument("--http", action="store_true", help="over HTTP, from a client process")
    parser.add_argument("--model", default="", help="model folder or .gguf file; empty: the default model")
    parser.add_argument("--arithmetic", default="auto", help="of the engine: auto or exact")
    options = parser.parse_args()
    import uvloop

    for streams in options.streams:
        config = EngineConfig.of(model=options.model, arithmetic=options.arithmetic, log_stats_s=0)
        print(uvloop.run(profile(config, streams, options.http)).table(streams), flush=True)


if __name__ == "__main__":
    main()
