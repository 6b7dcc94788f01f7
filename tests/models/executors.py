"""Runs an executor on one sequence, without scheduler or sampler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import ThreadPool
from octavo._runtime import Batch
from octavo.checkpoint import open_checkpoint
from octavo.models import model_config
from octavo.runner.eager import EagerExecutor
from octavo.runner.executor import ForwardPass, StepShape
from octavo.runner.step_program import StepProgramExecutor

__all__ = ["SHAPE", "all_logits", "eager", "logits_after", "step_program"]

SHAPE = StepShape(max_num_seqs=4, max_num_tokens=512, max_num_logits=512, max_model_len=512, num_blocks=128, block_size=16)


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
