"""Runs an executor on one sequence, without scheduler or sampler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import ThreadPool
from octavo._runtime import Batch
from octavo.checkpoint import open_checkpoint
from octavo.models import model_config
from octavo.runner.eager import EagerExecutor
from octavo.runner.executor import ForwardPass, StepShape
from octavo.runner.pooling_executor import PoolingExecutor
from octavo.runner.step_program import StepProgramExecutor
from octavo.step import RowPooling, RowSampling, RowStart, StepPlan

__all__ = ["ENCODER_SHAPE", "SHAPE", "all_logits", "eager", "logits_after", "step_program", "vectors"]

SHAPE = StepShape(max_num_seqs=4, max_num_tokens=512, max_num_logits=512, max_model_len=512, num_blocks=128, block_size=16)

ENCODER_SHAPE = replace(SHAPE, num_blocks=0)  # nothing is cached


def step_program(path: Path, shape: StepShape = SHAPE) -> ForwardPass:
    checkpoint = open_checkpoint(path)
    return StepProgramExecutor(model_config(checkpoint), checkpoint, shape, ThreadPool(2))


def eager(path: Path, shape: StepShape = SHAPE) -> ForwardPass:
    checkpoint = open_checkpoint(path)
    return EagerExecutor(model_config(checkpoint), checkpoint, shape, "cpu")


def all_logits(executor: ForwardPass, token_ids: list[int], chunk: int = 512, shape: StepShape = SHAPE) -> NDArray[np.float32]:
    """Logits [len(token_ids), V] of every position, computed `chunk` tokens at a time in blocks of descending ids."""
    batch = Batch(shape.max_num_seqs, shape.max_num_tokens, shape.max_num_logits, shape.max_model_len, shape.block_size)
    batch.start_row(0, token_ids, len(token_ids))
    blocks = list(range(shape.num_blocks - 1, -1, -1))[: -(-len(token_ids) // shape.block_size)]
    logits = []
    for start in range(0, len(token_ids), chunk):
        count = min(chunk, len(token_ids) - start)
        batch.prepare([0], [count], [[[] if start else blocks]], [count])
        logits.append(executor.execute(batch).copy())
    return np.concatenate(logits)


def logits_after(executor: ForwardPass, token_ids: list[int], num_cached: int) -> NDArray[np.float32]:
    """Logits of another sequence of the same tokens, `num_cached` of which are in the blocks that `all_logits` filled first."""
    batch = Batch(SHAPE.max_num_seqs, SHAPE.max_num_tokens, SHAPE.max_num_logits, SHAPE.max_model_len, SHAPE.block_size)
    cached = list(range(SHAPE.num_blocks - 1, -1, -1))[: num_cached // SHAPE.block_size]
    count = len(token_ids) - num_cached
    batch.start_row(1, token_ids, len(token_ids), num_cached)
    batch.prepare([1], [count], [[[*cached, *range(-(-count // SHAPE.block_size))]]], [count])
    return executor.execute(batch)


def vectors(
    path: Path, prompts: list[list[int]], pooling: RowPooling, *, build=step_program, chunk: int = 512
) -> list[NDArray[np.float32]]:
    """What a model that makes vectors makes of each prompt, all of them in one batch, `chunk` tokens of each at a time."""
    config = model_config(open_checkpoint(path))
    assert config.pooling is not None
    shape = SHAPE if config.causal else ENCODER_SHAPE
    executor = PoolingExecutor(build(path, shape), config.pooling, shape, ThreadPool(2))
    size, found = shape.block_size, {}
    for step, first in enumerate(range(0, max(map(len, prompts)), chunk)):
        rows = [row for row, prompt in enumerate(prompts) if len(prompt) > first]
        counts = [min(chunk, len(prompts[row]) - first) for row in rows]
        started = [] if step else [RowStart(row, prompts[row], len(prompts[row]), RowSampling(), pooling=pooling) for row in rows]
        blocks = [[] if step else list(range(row * 32, row * 32 + -(-len(prompts[row]) // size))) for row in rows]
        none, groups = [0] * len(rows), [blocks] * len(shape.block_pools)
        executor.launch(
            StepPlan(
                step,
                started=started,
                rows=rows,
                num_scheduled_tokens=counts,
                new_block_ids=groups,
                num_logits=none,
                draws=[False] * len(rows),
                num_drafts=none,
            )
        )
        result = executor.collect()
        assert not result.errors
        found |= result.pooled
    return [np.frombuffer(found[row], np.float32) for row in range(len(prompts))]
