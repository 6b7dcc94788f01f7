"""The runner of one process: a thread that applies plans to the persistent batch, executes them and draws tokens.

Only this thread touches the batch, the sampler and the executor; the engine's thread sees futures. The kernels release the GIL,
so the event loop goes on while a step computes.
"""

from __future__ import annotations

import atexit
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
        self._vocab_size = vocab_size
        self._prompt_logprobs: dict[int, _PromptLogprobs] = {}
        self._failed: dict[int, str] = {}  # rows that cannot draw, until their sequence ends, and why
        self._queue: SimpleQueue[tuple[StepPlan, Future[StepResult]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="octavo-runner", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread inside a kernel while the interpreter goes would abort the process

    @property
    def alive(self) -> bool:
        """See `Runner.alive`."""
        return self._thread.is_alive()

    def submit(self, plan: StepPlan) -> Future[StepResult]:
        """See `Runner.submit`."""
        future: Future[StepResult] = Future()
        self._queue.put((plan, future))
        return future

    def close(self) -> None:
        """See `Runner.close`."""
        self._queue.put(None)
        self._thread.join()
        atexit.unregister(self.close)

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
        """One step: change the rows, compute the logits, draw the tokens. A fault of one row is that row's error."""
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
            if self._failed.pop(row, None) is None:
                self._sampler.end_row(row)
            self._prompt_logprobs.pop(row, None)
        for start in plan.started:
            self._start(start)

    def _start(self, start: RowStart) -> None:
        """Fill a row. Where its request's parameters cannot be used it draws nothing, but its keys and values are computed all the same:
        the blocks that the plan fills count as filled, and other sequences may share them."""
        token_ids = start.token_ids
        try:
            self._sampler.start_row(start.row, token_ids, start.num_prompt_tokens, start.sampling)
        except Exception as error:
            log.warning("row %d cannot start: %s", start.row, error)
            self._failed[start.row] = f"the request cannot be run: {error}"
            token_ids = [token_id if 0 <= token_id < self._vocab_size else 0 for token_id in token_ids]
        self._batch.start_row(start.row, token_ids, start.num_prompt_tokens)
        if start.sampling.num_prompt_logprobs is not None:
            prompt = token_ids[: start.num_prompt_tokens]
            self._prompt_logprobs[start.row] = _PromptLogprobs(prompt, start.sampling.num_prompt_logprobs)

    def _draw(self, plan: StepPlan, logits: NDArray[np.float32], started: float) -> StepResult:
        errors = {row: self._failed[row] for row in plan.rows if row in self._failed}
        prompt_logprobs = self._score_prompts(plan, logits, errors) if self._prompt_logprobs else {}
        if False not in plan.draws and len(plan.rows) == len(logits) and not errors:  # each row has one logits row: nothing to pick out
            rows, last_rows = plan.rows, logits
        else:
            ends = list(accumulate(plan.num_logits))
            drawing = [index for index, draws in enumerate(plan.draws) if draws and plan.rows[index] not in errors]
            rows, last_rows = [plan.rows[index] for index in drawing], logits[[ends[index] - 1 for index in drawing]]
        token_ids, reports = self._sampler.sample(last_rows, rows) if rows else ([], [])
        errors |= {row: _NO_TOKEN for row, token in zip(rows, token_ids, strict=True) if token is None}
        self._batch.append_tokens(rows, [token or 0 for token in token_ids])
        if errors:
            # Such a row ends, but the step after this one may be planned for it already: some token must stand there.
            tokenless = [row for row, draws in zip(plan.rows, plan.draws, strict=True) if draws and row not in rows]
            self._batch.append_tokens(tokenless, [0] * len(tokenless))
            drawn = [(row, *rest) for row, *rest in zip(rows, token_ids, reports, strict=True) if row not in errors]
            rows, token_ids, reports = [list(column) for column in zip(*drawn, strict=True)] or ([], [], [])
        return StepResult(
            plan.step_id,
            rows=rows,
            token_ids=token_ids,
            logprobs=[None if report is None else _logprobs(token, report) for token, report in zip(token_ids, reports, strict=True)],
            prompt_logprobs=prompt_logprobs,
            errors=errors,
            run_ms=(time.perf_counter() - started) * 1e3,
        )

    def _score_prompts(self, plan: StepPlan, logits: NDArray[np.float32], errors: dict[int, str]) -> dict[int, list[TokenLogprobs]]:
        """Entries for the prompt positions whose logits this step computed; those at position p describe token p + 1."""
        scored: dict[int, list[TokenLogprobs]] = {}
        for index, end in enumerate(accumulate(plan.num_logits)):
            row = plan.rows[index]
            if row not in self._prompt_logprobs or plan.num_logits[index] == 0:
                continue
            try:
                scored[row] = self._score(
                    row, plan.num_computed_tokens[index] + plan.num_scheduled_tokens[index], logits[:end], plan.num_logits[index]
                )
            except Exception as error:
                log.warning("row %d: no log-probabilities of the prompt: %s", row, error)
                errors[row] = f"the prompt's log-probabilities cannot be computed: {error}"
        return {row: entries for row, entries in scored.items() if entries}

    def _score(self, row: int, num_computed_tokens: int, logits: NDArray[np.float32], num_logits: int) -> list[TokenLogprobs]:
        """The last `num_logits` rows of `logits` are those of the row's positions up to `num_computed_tokens`."""
        wanted = self._prompt_logprobs[row]
        targets = wanted.prompt_token_ids[num_computed_tokens - num_logits + 1 : num_computed_tokens + 1]
        top = len(logits) - num_logits
        reports = self._sampler.score(logits[top : top + len(targets)], targets, wanted.num_top)
        return [_logprobs(token, report) for token, report in zip(targets, reports, strict=True) if report is not None]


def _logprobs(token_id: int, report: tuple) -> TokenLogprobs:
    logprob, rank, top_ids, top_logprobs = report
    return TokenLogprobs(token_id, logprob, rank, tuple(zip(top_ids, top_logprobs, strict=True)))
