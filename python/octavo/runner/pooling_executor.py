"""Executor of a model that makes vectors: the persistent batch is here, and how the vectors of a step become those of a row."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import ThreadPool
from octavo._runtime import Batch
from octavo.checkpoint.pooling_config import PoolingConfig
from octavo.log import get_logger
from octavo.runner.executor import ForwardPass, StepShape
from octavo.step import Command, Profile, RowPooling, RowStart, StepPlan, StepResult

__all__ = ["PoolingExecutor"]

log = get_logger(__name__)

Floats = NDArray[np.float32]


@dataclass(slots=True)
class _Row:
    """A row, and what the chunks of its prompt have brought so far.

    Attributes:
        tokens: the vectors of its tokens, of each chunk; where the row wants them.
        pooled: the vector of the tokens computed; of a mean the sum.
    """

    pooling: RowPooling
    num_tokens: int
    tokens: list[Floats] = field(default_factory=list)
    pooled: Floats | None = None


class PoolingExecutor:
    """Implements `Executor`: `launch` computes, `collect` hands over. A row's bits do not depend on what shares its batch."""

    depth = 1

    def __init__(self, forward: ForwardPass, pooling: PoolingConfig, shape: StepShape, pool: ThreadPool) -> None:
        self._forward = forward
        self._kind = pooling.kind
        self._batch = Batch(
            shape.max_num_seqs,
            shape.max_num_tokens,
            shape.max_num_logits,
            shape.max_model_len,
            shape.block_size,
            num_groups=len(shape.block_pools),
        )
        self._pool = pool
        self._rows: dict[int, _Row] = {}
        self._results: deque[StepResult] = deque()

    def bind_thread(self) -> None:
        """See `Executor.bind_thread`."""
        self._pool.place_caller()

    def launch(self, plan: StepPlan) -> None:
        """See `Executor.launch`."""
        self._apply(plan)
        if not plan.rows:
            self._results.append(StepResult(plan.step_id, [], [], []))
            return
        started = time.perf_counter()
        self._batch.prepare(plan.rows, plan.num_scheduled_tokens, plan.new_block_ids, plan.num_logits)
        outputs = self._forward.pool(self._batch, self._token_types(plan))
        pooled: dict[int, bytes] = {}
        errors: dict[int, str] = {}
        first = 0
        for index, (row, count) in enumerate(zip(plan.rows, plan.num_scheduled_tokens, strict=True)):
            vectors = self._take(row, outputs, index, slice(first, first + count))
            first += count
            if vectors is None:
                continue
            if np.isfinite(vectors).all():
                pooled[row] = vectors.tobytes()
            else:
                errors[row] = "the model's vectors are not finite"
        run_ms = (time.perf_counter() - started) * 1e3
        self._results.append(StepResult(plan.step_id, [], [], [], errors=errors, pooled=pooled, run_ms=run_ms))

    def collect(self) -> StepResult:
        """See `Executor.collect`."""
        return self._results.popleft()

    def finished(self) -> bool:
        """See `Executor.finished`: `launch` has computed the step."""
        return True

    def idle(self) -> bool:
        """See `Executor.idle`: there is nothing to prepare."""
        return False

    def call(self, command: Command) -> Any:
        """See `Executor.call`."""
        assert isinstance(command, Profile)
        return self._forward.profile()

    def close(self) -> None:
        """See `Executor.close`."""

    def _apply(self, plan: StepPlan) -> None:
        for row in plan.ended:
            self._batch.end_row(row)
            self._rows.pop(row, None)
        for start in plan.started:
            self._start(start)
        if plan.copied_blocks or plan.forked:
            raise ValueError("a model that makes vectors has no rows that fork")

    def _start(self, start: RowStart) -> None:
        assert start.pooling is not None, "a model that makes vectors draws no tokens"
        self._batch.start_row(start.row, start.token_ids, start.num_prompt_tokens, start.num_computed_tokens, start.first_blocks)
        self._rows[start.row] = _Row(start.pooling, start.num_prompt_tokens)

    def _token_types(self, plan: StepPlan) -> NDArray[np.int32]:
        """0 for tokens of a row's first segment, 1 for those of its second."""
        types = np.zeros(sum(plan.num_scheduled_tokens), np.int32)
        first = 0
        for row, count in zip(plan.rows, plan.num_scheduled_tokens, strict=True):
            second = self._rows[row].pooling.second_segment
            if second is not None:
                done = self._batch.num_computed_tokens(row) - count
                types[first + max(0, second - done) : first + count] = 1
            first += count
        return types

    def _take(self, row: int, outputs: dict[str, Floats], index: int, tokens: slice) -> Floats | None:
        """Take what the step made of a row, number `index` of the step; its vectors once its prompt is computed."""
        state, num_computed = self._rows[row], self._batch.num_computed_tokens(row)
        count = tokens.stop - tokens.start
        if state.pooling.token_wise or "pooled" not in outputs:
            state.tokens.append(outputs["tokens"][tokens].copy())
        else:
            self._add(state, outputs["pooled"][index], count, is_first=num_computed == count)
        if num_computed < state.num_tokens:
            return None
        vectors = np.concatenate(state.tokens) if state.tokens else state.pooled
        assert vectors is not None
        return _activated(vectors if state.tokens or self._kind != "mean" else vectors / np.float32(state.num_tokens), state.pooling)

    def _add(self, state: _Row, pooled: Floats, count: int, *, is_first: bool) -> None:
        """Join the vector of a chunk's tokens with those before."""
        if self._kind == "mean":
            total = pooled * np.float32(count)
            state.pooled = total if state.pooled is None else state.pooled + total
        elif self._kind == "last" or is_first:
            state.pooled = pooled.copy()


def _activated(vectors: Floats, pooling: RowPooling) -> Floats:
    """Cut to the columns wanted, then normalised, or made probabilities."""
    x = vectors if pooling.dimensions is None else vectors[..., : pooling.dimensions]
    if pooling.activation == "normalize":
        x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(1e-12))
    elif pooling.activation == "sigmoid":
        x = np.float32(1) / (np.float32(1) + np.exp(-x))
    elif pooling.activation == "softmax":
        weights = np.exp(x - x.max(-1, keepdims=True))
        x = weights / weights.sum(-1, keepdims=True)
    return np.ascontiguousarray(x, dtype=np.float32)
