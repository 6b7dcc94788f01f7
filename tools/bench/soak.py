#!/usr/bin/env python3
"""Many mixed requests, a fifth of them aborted in mid-stream: nothing may leak.

    python tools/bench/soak.py [--requests 2000] [--model MODEL]

Prints blocks in use and resident memory as it goes; exits 1 when a block is lost or memory grows after the first quarter.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from octavo.assemble import build_engine
from octavo.config import EngineConfig
from octavo.engine import AsyncEngine
from octavo.types import GenerationRequest, SamplingParams

__all__ = ["Soak", "soak"]

ABORTED_SHARE = 0.2
CONCURRENCY = 32
MAX_GROWTH_MIB = 16.0


@dataclass
class Soak:
    """What was seen: requests completed and aborted, resident memory in MiB at each quarter, blocks held at the end (share)."""

    completed: int
    aborted: int
    rss_mib: list[float]
    kv_usage: float

    @property
    def growth_mib(self) -> float:
        """Growth of resident memory from the first quarter to the end: caches and pages are warm by then."""
        return self.rss_mib[-1] - self.rss_mib[0]


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def random_request(index: int, vocab_size: int) -> GenerationRequest:
    draw = random.Random(index)
    shared = [1 + draw.randrange(4)] * draw.choice([0, 64])  # some prompts share a prefix
    prompt = shared + [draw.randrange(3, vocab_size) for _ in range(draw.randrange(1, 120))]
    params = SamplingParams(
        n=draw.choice([1, 1, 1, 2]),
        max_tokens=draw.randrange(2, 24),
        temperature=draw.choice([0.0, 0.8]),
        top_p=draw.choice([1.0, 0.9]),
        frequency_penalty=draw.choice([0.0, 0.5]),
        logprobs=draw.choice([None, 2]),
        stop=("the",) if draw.random() < 0.2 else (),
        ignore_eos=True,
    )
    return GenerationRequest(f"soak-{index}", prompt, params)


async def one(engine: AsyncEngine, index: int, gate: asyncio.Semaphore) -> bool:
    """Serve one request; True where it was aborted on the way."""
    request = random_request(index, engine.info.vocab_size)
    abort_after = 1 if random.Random(~index).random() < ABORTED_SHARE else None
    async with gate, await engine.submit(request) as stream:
        num_deltas = 0
        async for delta in stream:
            assert delta.error is None, delta.error
            num_deltas += 1
            if num_deltas == abort_after and delta.finish_reason is None:
                return True
    return False


async def soak(engine: AsyncEngine, num_requests: int) -> Soak:
    """Run the requests, `CONCURRENCY` at a time, in four quarters."""
    await engine.start()
    gate = asyncio.Semaphore(CONCURRENCY)
    rss, aborted = [], 0
    for quarter in range(4):
        indices = range(quarter * num_requests // 4, (quarter + 1) * num_requests // 4)
        aborted += sum(await asyncio.gather(*(one(engine, index, gate) for index in indices)))
        rss.append(resident_mib())
        print(f"{indices.stop} requests, {aborted} aborted, {rss[-1]:.1f} MiB resident, KV usage {engine.stats().kv_usage:.3f}", flush=True)
    usage = engine.stats().kv_usage
    await engine.close()
    return Soak(num_requests - aborted, aborted, rss, usage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000, help="how many (default: 2000)")
    parser.add_argument("--model", default="", help="model folder or .gguf file; empty: the default model")
    options = parser.parse_args()

    async def run() -> Soak:
        # A small cache is soon full and pages stay resident, so that what grows later is a leak.
        return await soak(build_engine(EngineConfig.of(model=options.model, kv_cache_bytes=64 << 20, max_model_len=1024)), options.requests)

    result = asyncio.run(run())
    print(f"{result.completed} completed, {result.aborted} aborted; memory grew {result.growth_mib:+.1f} MiB after the first quarter")
    sys.exit(result.kv_usage > 0 or result.growth_mib > MAX_GROWTH_MIB)


if __name__ == "__main__":
    main()
