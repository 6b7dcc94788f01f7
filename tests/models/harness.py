"""Runs an engine over a real executor and keeps the logits of every position that drew a token, keyed by the tokens before it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo.assemble import build_engine
from octavo.config import EngineConfig
from octavo.engine import AsyncEngine
from octavo.platforms import cpu, torch
from octavo.runner.host_executor import HostExecutor
from octavo.step import StepPlan, StepResult
from octavo.types import GenerationRequest, SamplingParams

__all__ = ["Run", "run_engine"]

Logits = dict[tuple[int, ...], NDArray[np.float32]]


@dataclass
class Run:
    """What a run made: tokens per prompt, logits per token history, the engine's counters."""

    token_ids: list[list[int]]
    logits: Logits
    num_cached_tokens: list[int]
    num_preemptions: int


class _RecordingExecutor(HostExecutor):
    logits: Logits

    def _draw(self, plan: StepPlan, logits: NDArray[np.float32], started: float) -> StepResult:
        ends = np.cumsum(plan.num_logits)
        for index, row in enumerate(plan.rows):
            if plan.draws[index]:
                known = self._batch.row_tokens(row)[: self._batch.num_computed_tokens(row)]
                self.logits[tuple(known)] = logits[ends[index] - 1].copy()
        return super()._draw(plan, logits, started)


def run_engine(
    model: Path, prompts: Sequence[list[int]], *, max_tokens: int, together: bool = False, monkeypatch, **settings: object
) -> Run:
    """Generate greedily for each prompt, one after the other or all at once. `settings` are settings of `EngineConfig`."""
    _RecordingExecutor.logits = {}
    for platform in (cpu, torch):
        monkeypatch.setattr(platform, "HostExecutor", _RecordingExecutor)
    config = EngineConfig.of(**{"model": str(model), "max_model_len": 2048, "kv_cache_bytes": 512 << 20, **settings})
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
    return asyncio.run(_run(build_engine(config), prompts, params, together))


async def _run(engine: AsyncEngine, prompts: Sequence[list[int]], params: SamplingParams, together: bool) -> Run:
    await engine.start()
    try:
        calls = [_generate(engine, str(index), prompt, params) for index, prompt in enumerate(prompts)]
        results = await asyncio.gather(*calls) if together else [await call for call in calls]
    finally:
        await engine.close()
    tokens, cached = zip(*results, strict=True)
    return Run(list(tokens), _RecordingExecutor.logits, list(cached), engine.stats().preemptions)


async def _generate(engine: AsyncEngine, name: str, prompt: list[int], params: SamplingParams) -> tuple[list[int], int]:
    token_ids: list[int] = []
    num_cached = 0
    async for delta in await engine.submit(GenerationRequest(name, prompt, params)):
        assert delta.error is None, delta.error
        token_ids += delta.token_ids
        num_cached = max(num_cached, delta.num_cached_tokens)
    return token_ids, num_cached
