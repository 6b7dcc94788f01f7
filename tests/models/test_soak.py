"""Mixed requests, some aborted in mid-stream, over the real model: every block comes back (tools/bench/soak.py runs 2,000)."""

from __future__ import annotations

import asyncio

from soak import Soak, soak

from octavo.assemble import build_engine
from octavo.config import EngineConfig


def test_nothing_leaks(smollm2):
    async def run() -> Soak:
        return await soak(build_engine(EngineConfig.of(model=str(smollm2), kv_cache_bytes=64 << 20, max_model_len=1024)), 120)

    result = asyncio.run(run())
    assert result.aborted > 10
    assert result.completed > 60
    assert result.kv_usage == 0
    assert result.growth_mib < 64  # few requests: caches still warm up
