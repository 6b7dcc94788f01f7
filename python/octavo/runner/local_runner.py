"""The runner of one process: a thread that applies plans to the persistent batch, executes them and draws tokens.

Only this thread touches the batch, the sampler and the executor; the engine's thread sees futures. The kernels release the GIL,
so the event loop goes on while a step computes.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import accumulate
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import Sampler, ThreadPool
from octavo._runtime import Batch
from octavo.log import get_logger
from octavo.runner.executor import Executor, StepShape
from octavo.step import RowStart, StepPlan, StepResult
from octavo.types import TokenLogprobs

__all__ = ["LocalRunner"]

log = get_logger(__name__)

_NO_TOKEN = "the model's logits are not finite, or every token is barred by the request's constraints"


@dataclass(frozen=True, slots=True)
class _PromptLogprobs:
    """A row that wants log-probabilities of its prompt, and the prompt."""

    prompt_token_ids: list[int]
    num_top: int


class LocalRunner:
    """Implements `step.Runner` over one executor."""

    def __init__(self, executor: Executor, shape: StepShape, vocab_size: int, pool: ThreadPool) -> None:
        self._executor = executor
        self._batch = Batch(shape.max_num_seqs, shape.max_num_tokens, shape.max_num_logits, shape.max_model_len, shape.block_size)
        self._sampler = Sampler(shape.max_num_seqs, vocab_size, pool)
        self._pool = pool
        self._prompt_logprobs: dict[int, _PromptLogprobs] = {}
        self._queue: SimpleQueue[tuple[StepPlan, Future[StepResult]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="octavo-runner", daemon=True)
        self._thread.start()

    def submit(self, plan: StepPlan) -> Future[StepResult]:
        """See `Runner.submit`."""
        future: Future[StepResult] = Future()
        self._queue.put((plan, future))
        return future

    def close(self) -> None:
        """See `Runner.close`."""
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        self._pool.place_caller()
        while (job := self._queue.get()) is not None:
            plan, future = job
            try:
                future.set_result(self._run(plan))
            except Exception as error:
                log.exception("step %d failed", plan.step_id)
                future.set_exception(error)

    def _run(self, plan: StepPlan) -> StepResult:
        """One step: change the rows, compute the logits, draw the tokens."""
        self._apply(plan)
        if not plan.rows:
            return StepResult(plan.step_id, [], [], [])
        started = time.perf_counter()
        self._batch.prepare(plan.rows, plan.num_computed_tokens, plan.num_scheduled_tokens, plan.new_block_ids, plan.num_logits)
        logits = self._executor.execute(self._batch)
        return self._draw(plan, logits, started)

    def _apply(self, plan: StepPlan) -> None:
        for row in plan.ended:
            self._batch.end_row(row)
            self._sampler.end_row(row)
            self._prompt_logprobs.pop(row, None)
        for start in plan.started:
            self._start(start)

    def _start(self, start: RowStart) -> None:
        self._batch.start_row(start.row, start.token_ids, start.num_prompt_tokens)
        self._sampler.start_row(start.row, start.token_ids, start.num_prompt_tokens, start.sampling)
        if start.sampling.num_prompt_logprobs is not None:
            prompt = start.token_ids[: start.num_prompt_tokens]
            self._prompt_logprobs[start.row] = _PromptLogprobs(prompt, start.sampling.num_prompt_logprobs)

    def _draw(self, plan: StepPlan, logits: NDArray[np.float32], started: float) -> StepResult:
        if False not in plan.draws and len(plan.rows) == len(logits):  # each row has one logits row, in order: nothing to pick out
            rows, last_rows = plan.rows, logits
        else:
            ends = list(accumulate(plan.num_logits))
            drawing = [index for index, draws in enumerate(plan.draws) if draws]
            rows, last_rows = [plan.rows[index] for index in drawing], logits[[ends[index] - 1 for index in drawing]]
        token_ids, reports = self._sampler.sample(last_rows, rows) if rows else ([], [])
        errors = {}
        if None in token_ids:
            # Such a row ends, but the step after this one may be planned for it already: some token must stand there.
            self._batch.append_tokens(rows, [token or 0 for token in token_ids])
            errors = {row: _NO_TOKEN for row, token in zip(rows, token_ids, strict=True) if token is None}
            drawn = [(row, token, report) for row, token, report in zip(rows, token_ids, reports, strict=True) if token is not None]
            rows, token_ids, reports = [list(column) for column in zip(*drawn, strict=True)] or ([], [], [])
        else:
            self._batch.append_tokens(rows, token_ids)
        return StepResult(
            plan.step_id,
            rows=rows,
            token_ids=token_ids,
            logprobs=[None if report is None else _logprobs(token, report) for token, report in zip(token_ids, reports, strict=True)],
            prompt_logprobs=self._score_prompts(plan, logits) if self._prompt_logprobs else {},
            errors=errors,
            run_ms=(time.perf_counter() - started) * 1e3,
        )

    def _score_prompts(self, plan: StepPlan, logits: NDArray[np.float32]) -> dict[int, list[TokenLogprobs]]:
        """Entries for the prompt positions whose logits this step computed; those at position p describe token p + 1."""
        ends = list(accumulate(plan.num_logits))
        scored: dict[int, list[TokenLogprobs]] = {}
        for index, row in enumerate(plan.rows):
            wanted = self._prompt_logprobs.get(row)
            if wanted is None or plan.num_logits[index] == 0:
                continue
            last = plan.num_computed_tokens[index] + plan.num_scheduled_tokens[index]
            first = last - plan.num_logits[index]
            targets = wanted.prompt_token_ids[first + 1 : last + 1]
            if targets:
                top = ends[index] - plan.num_logits[index]
                reports = zip(targets, self._sampler.score(logits[top : top + len(targets)], targets, wanted.num_top), strict=True)
                scored[row] = [_logprobs(token, report) for token, report in reports if report is not None]
        return scored


def _logprobs(token_id: int, report: tuple) -> TokenLogprobs:
    logprob, rank, top_ids, top_logprobs = report
    return TokenLogprobs(token_id, logprob, rank, tuple(zip(top_ids, top_logprobs, strict=True)))
