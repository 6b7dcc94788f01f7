"""A deterministic model without arithmetic, behind the `step.Runner` protocol.

The "KV" of position p is a hash of the row's tokens 0..p. A step writes it into the slots that the block table names and reads
the slots of every earlier position back, so a wrong block, a stale block or a wrong order shows at once as an AssertionError.
The next token is a hash of all tokens so far (and of the seed, where temperature > 0): no scheduling can change it.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from zlib import crc32

from octavo.step import RowSampling, RowStart, StepPlan, StepResult
from octavo.types import TokenLogprobs

__all__ = ["FakeRunner", "fake_next_token", "fake_output"]

_EMPTY = 0  # hash of no tokens


@dataclass
class FakeRow:
    token_ids: list[int]
    num_prompt_tokens: int
    sampling: RowSampling
    block_ids: list[int] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)  # of the tokens 0..p, as far as computed here


class FakeRunner:
    """Runs plans in order of submission and checks that each keeps the contract of `step.py`.

    Args:
        vocab_size: drawn ids are below this.
        script: outputs 0, 1, 2 ... of every row, whatever its tokens; after its end the hash decides.
        delay_s: time that a step takes, on a thread of its own; 0: the step is done when `submit` returns.
        eos_token_id, eos_period: roughly one token in `eos_period` is `eos_token_id`.
        fail_at_step: that step's future fails, and all later ones.
        error_token_id: a row that is about to draw this token reports an error instead.
        start_ms, token_ms: what a step says that it took: `start_ms + token_ms * tokens`.
        max_num_batched_tokens, max_num_logits: budgets to hold the plans to; None: unchecked.
    """

    def __init__(
        self,
        *,
        block_size: int = 4,
        vocab_size: int = 256,
        script: list[int] | None = None,
        delay_s: float = 0.0,
        eos_token_id: int | None = None,
        eos_period: int = 16,
        fail_at_step: int | None = None,
        error_token_id: int | None = None,
        start_ms: float = 1.0,
        token_ms: float = 0.0,
        max_num_batched_tokens: int | None = None,
        max_num_logits: int | None = None,
    ) -> None:
        self.plans: list[StepPlan] = []
        self.rows: dict[int, FakeRow] = {}
        self.closed = False
        self._block_size = block_size
        self._draw = _Draw(vocab_size, script or [], eos_token_id, eos_period)
        self._delay_s = delay_s
        self._start_ms = start_ms
        self._token_ms = token_ms
        self._fail_at_step = fail_at_step
        self._error_token_id = error_token_id
        self._max_num_batched_tokens = max_num_batched_tokens
        self._max_num_logits = max_num_logits
        self._slots: dict[int, int] = {}  # slot -> KV
        self._thread = ThreadPoolExecutor(1) if delay_s else None

    def submit(self, plan: StepPlan) -> Future[StepResult]:
        if self._thread is not None:
            return self._thread.submit(self._run_slowly, plan)
        future: Future[StepResult] = Future()
        try:
            future.set_result(self.run(plan))
        except Exception as error:
            future.set_exception(error)
        return future

    @property
    def alive(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
        if self._thread is not None:
            self._thread.shutdown()

    def run(self, plan: StepPlan) -> StepResult:
        """Compute a step now."""
        self._check_plan(plan)
        for row in plan.ended:
            del self.rows[row]
        for start in plan.started:
            self._start(start)
        result = StepResult(plan.step_id, [], [], [], run_ms=self._start_ms + self._token_ms * sum(plan.num_scheduled_tokens))
        chunks = (plan.rows, plan.num_computed_tokens, plan.num_scheduled_tokens, plan.new_block_ids, plan.num_logits, plan.draws)
        for row, begin, num_tokens, new_block_ids in zip(*chunks[:4], strict=True):
            self.rows[row].block_ids += new_block_ids
            self._read_kv(self.rows[row], begin, begin + num_tokens)  # of all rows before any is written: no sharing within a step
        for row, begin, num_tokens, _, num_logits, draws in zip(*chunks, strict=True):
            self._write_kv(self.rows[row], begin, begin + num_tokens)
            self._report_prompt(result, row, begin + num_tokens, num_logits)
            if draws:
                assert num_logits >= 1, f"row {row} draws without logits"
                self._draw_token(result, row)
        return result

    def _run_slowly(self, plan: StepPlan) -> StepResult:
        time.sleep(self._delay_s)
        return self.run(plan)

    def _check_plan(self, plan: StepPlan) -> None:
        if self._fail_at_step is not None and plan.step_id >= self._fail_at_step:
            raise RuntimeError("the fake device is on fire")
        assert plan.step_id == len(self.plans), "steps are not counted up by one"
        assert len(set(plan.rows)) == len(plan.rows), "a row is scheduled twice"
        assert all(num_tokens >= 1 for num_tokens in plan.num_scheduled_tokens)
        if self._max_num_batched_tokens is not None:
            assert sum(plan.num_scheduled_tokens) <= self._max_num_batched_tokens, "token budget exceeded"
        if self._max_num_logits is not None:
            assert sum(plan.num_logits) <= self._max_num_logits, "logits budget exceeded"
        self.plans.append(plan)

    def _start(self, start: RowStart) -> None:
        assert start.row not in self.rows, f"row {start.row} is started while it is in use"
        self.rows[start.row] = FakeRow(list(start.token_ids), start.num_prompt_tokens, start.sampling)

    def _read_kv(self, row: FakeRow, begin: int, end: int) -> None:
        assert end <= len(row.token_ids), "a position is scheduled whose token nobody knows"
        assert end <= len(row.block_ids) * self._block_size, "a position has no block"
        for position in range(len(row.hashes), end):
            row.hashes.append(_extend(row.hashes[-1] if position else _EMPTY, row.token_ids[position]))
        for position in range(begin):
            assert self._slots.get(self._slot(row, position)) == row.hashes[position], f"position {position} reads foreign or stale KV"

    def _write_kv(self, row: FakeRow, begin: int, end: int) -> None:
        for position in range(begin, end):
            self._slots[self._slot(row, position)] = row.hashes[position]

    def _slot(self, row: FakeRow, position: int) -> int:
        return row.block_ids[position // self._block_size] * self._block_size + position % self._block_size

    def _report_prompt(self, result: StepResult, row_id: int, end: int, num_logits: int) -> None:
        row = self.rows[row_id]
        if row.sampling.num_prompt_logprobs is None:
            return
        positions = range(end - num_logits, min(end, row.num_prompt_tokens - 1))
        if positions:
            result.prompt_logprobs[row_id] = [
                TokenLogprobs(row.token_ids[position + 1], -(row.hashes[position] % 100) / 10, 1) for position in positions
            ]

    def _draw_token(self, result: StepResult, row_id: int) -> None:
        row = self.rows[row_id]
        token_id = self._draw.token(row.hashes[-1], len(row.token_ids) - row.num_prompt_tokens, row.sampling)
        if token_id == self._error_token_id:
            result.errors[row_id] = "the logits are not finite"
            row.token_ids.append(0)  # a row that goes on until the engine ends it
            return
        row.token_ids.append(token_id)
        result.rows.append(row_id)
        result.token_ids.append(token_id)
        wanted = row.sampling.num_logprobs is not None
        result.logprobs.append(TokenLogprobs(token_id, -(row.hashes[-1] % 100) / 10, 1) if wanted else None)


@dataclass(frozen=True)
class _Draw:
    vocab_size: int
    script: list[int]
    eos_token_id: int | None
    eos_period: int

    def token(self, tokens_hash: int, num_outputs: int, sampling: RowSampling) -> int:
        if num_outputs < len(self.script):
            return self.script[num_outputs]
        if sampling.temperature > 0:
            tokens_hash = _extend(tokens_hash, sampling.seed + sampling.choice)
        blocked = sampling.blocked_until_min if num_outputs < sampling.min_tokens else ()
        if self.eos_token_id is not None and tokens_hash % self.eos_period == 0 and self.eos_token_id not in blocked:
            return self.eos_token_id
        return fake_next_token(tokens_hash, self.vocab_size)


def fake_next_token(tokens_hash: int, vocab_size: int) -> int:
    return (tokens_hash >> 4) % vocab_size


def fake_output(prompt_token_ids: list[int], num_tokens: int, sampling: RowSampling | None = None, vocab_size: int = 256) -> list[int]:
    """The outputs that a `FakeRunner` without script and end-of-sequence gives, computed alone and at once."""
    draw = _Draw(vocab_size, [], None, 1)
    tokens_hash = _EMPTY
    for token_id in prompt_token_ids:
        tokens_hash = _extend(tokens_hash, token_id)
    outputs: list[int] = []
    for num_outputs in range(num_tokens):
        outputs.append(draw.token(tokens_hash, num_outputs, sampling or RowSampling()))
        tokens_hash = _extend(tokens_hash, outputs[-1])
    return outputs


def _extend(tokens_hash: int, token_id: int) -> int:
    return crc32(token_id.to_bytes(16, "little"), tokens_hash) or 1
