"""A real engine whose step fails, or whose runner's thread ends: built again from the same files, it answers as before."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pytest
from make_tiny_checkpoint import make_tiny_checkpoint

from octavo.assemble import build_engine
from octavo.config import EngineConfig
from octavo.engine import AsyncEngine
from octavo.runner.host_executor import HostExecutor
from octavo.types import FinishReason, GenerationRequest, SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)


async def answer(engine: AsyncEngine) -> tuple[list[int], FinishReason]:
    async with await engine.submit(GenerationRequest("r", list(range(40)), GREEDY)) as stream:
        deltas = [delta async for delta in stream]
    return [token_id for delta in deltas for token_id in delta.token_ids], deltas[-1].finish_reason


@pytest.mark.parametrize("error", [RuntimeError("a kernel failed"), SystemExit()], ids=["a step that fails", "a thread that ends"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_engine_is_built_again(tmp_path, monkeypatch, caplog, error):
    caplog.set_level(logging.CRITICAL, logger="octavo")  # a record of the log would hold the traceback, and that the executor
    checkpoint = make_tiny_checkpoint("llama", tmp_path, seed=5)
    engine = build_engine(EngineConfig.of(model=str(checkpoint), kv_cache_bytes=1 << 20, threads=2, log_stats_s=0))
    await engine.start()
    wanted = await answer(engine)
    broken: list[weakref.ref[HostExecutor]] = []
    launch = HostExecutor.launch

    def failing(self: HostExecutor, plan: object) -> None:
        broken.append(weakref.ref(self))
        raise error

    monkeypatch.setattr(HostExecutor, "launch", failing)
    assert (await answer(engine))[1] is FinishReason.ERROR
    monkeypatch.setattr(HostExecutor, "launch", launch)
    for _ in range(1000):
        if engine.dead is None:
            break
        await asyncio.sleep(0.02)
    assert await answer(engine) == wanted
    assert engine.stats().rebuilds == 1 and engine.stats().kv_usage == 0
    error.__traceback__ = None
    gc.collect()
    assert broken[0]() is None, "the broken executor's memory is still held"
    await engine.close()
