"""A deterministic model without arithmetic, behind the `step.Runner` protocol.

The "KV" of position p is a hash of the row's tokens 0..p. A step writes it into the slots that the block tables name and reads
the slots of every earlier position in sight back, so a wrong block, a stale block or a wrong order shows at once as an AssertionError.
The next token is a hash of all tokens so far (and of the seed, where temperature > 0): no scheduling can change it.
Drafts are right or wrong by another hash; a wrong one leaves its KV behind, as a rejected draft does.
"""

from __future__ import annotations

import pickle
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from zlib import crc32

from octavo.step import Command, RowFork, RowSampling, RowStart, StepPlan, StepResult
from octavo.types import TokenLogprobs

__all__ = ["FakeRunner", "fake_best_tokens", "fake_next_token", "fake_output"]

_EMPTY = 0  # hash of no tokens


@dataclass
class FakeRow:
    token_ids: list[int]
    num_prompt_tokens: int
    sampling: RowSampling
    num_computed: int
    tables: list[list[int | None]]  # block ids of each cache group; None behind its window
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
        windows: of each cache group, tokens that a token sees; None: all.
        draft_accuracy: share of drafts that are right.

    Attributes:
        plans, begins: the plans that ran, and for each the positions at which its rows' chunks began.
        commands: (command, number of plans that ran before it).
    """

    depth = 2

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
        windows: tuple[int | None, ...] = (None,),
        keeps_states: bool = False,
        draft_accuracy: float = 0.6,
    ) -> None:
        self.plans: list[StepPlan] = []
        self.begins: list[list[int]] = []
        self.commands: list[tuple[Command, int]] = []
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
        self._windows = windows
        self._keeps_states = keeps_states
        self._saved: dict[int, tuple[int, int]] = {}  # slot -> tokens before it, and their hash
        self._draft_accuracy = draft_accuracy
        self._slots: list[dict[int, int]] = [{} for _ in windows]  # of each cache group: slot -> KV
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

    def call(self, command: Command) -> Future[object]:
        self.commands.append((command, len(self.plans)))
        future: Future[object] = Future()
        future.set_result({})
        return future

    def close(self) -> None:
        self.closed = True
        if self._thread is not None:
            self._thread.shutdown()

    def run(self, plan: StepPlan) -> StepResult:
        """Compute a step now."""
        self._check_plan(plan)
        self._change_rows(plan)
        result = StepResult(plan.step_id, [], [], [], run_ms=self._start_ms + self._token_ms * sum(plan.num_scheduled_tokens))
        begins = [self.rows[row].num_computed for row in plan.rows]
        self.begins.append(begins)
        for index, row in enumerate(plan.rows):
            for table, new_block_ids in zip(self.rows[row].tables, plan.new_block_ids, strict=True):
                table += new_block_ids[index]
            self._propose(self.rows[row], plan.num_drafts[index])
            self._read_kv(self.rows[row], begins[index] + plan.num_scheduled_tokens[index])  # before any is written: no sharing in a step
        for index, row_id in enumerate(plan.rows):
            row, num_logits, num_drafts = self.rows[row_id], plan.num_logits[index], plan.num_drafts[index]
            end = begins[index] + plan.num_scheduled_tokens[index]
            self._write_kv(row, end)
            self._report_prompt(result, row_id, end, num_logits)
            if plan.draws[index]:
                assert num_logits >= 1 + num_drafts, f"row {row_id} draws without logits"
                assert end == len(row.token_ids), f"row {row_id} draws before its end"
                self._draw_tokens(result, row_id, num_drafts)
        for row_id, slot in plan.saved_states:
            assert row_id in plan.rows, f"row {row_id} is saved and not scheduled"
            end = begins[plan.rows.index(row_id)] + plan.num_scheduled_tokens[plan.rows.index(row_id)]
            self._saved[slot] = (end, _hash_of(self.rows[row_id].token_ids[:end]))
        return result

    def _change_rows(self, plan: StepPlan) -> None:
        for row in plan.ended:
            del self.rows[row]
        for start in plan.started:
            self._start(start)
        for fork in plan.forked:
            self._fork(fork)
        for group, source, destination in plan.copied_blocks:
            slots = self._slots[group]
            for offset in range(self._block_size):
                slots[destination * self._block_size + offset] = slots.get(source * self._block_size + offset, -1)

    def _run_slowly(self, plan: StepPlan) -> StepResult:
        time.sleep(self._delay_s)
        return self.run(plan)

    def _check_plan(self, plan: StepPlan) -> None:
        if self._fail_at_step is not None and plan.step_id >= self._fail_at_step:
            raise RuntimeError("the fake device is on fire")
        assert plan.step_id == len(self.plans), "steps are not counted up by one"
        assert len(set(plan.rows)) == len(plan.rows), "a row is scheduled twice"
        assert all(num_tokens > num_drafts >= 0 for num_tokens, num_drafts in zip(plan.num_scheduled_tokens, plan.num_drafts, strict=True))
        assert len(plan.new_block_ids) == len(self._windows), "new blocks of other cache groups"
        assert pickle.loads(pickle.dumps(plan)) == plan, "a plan is plain data"
        if self._max_num_batched_tokens is not None:
            assert sum(plan.num_scheduled_tokens) <= self._max_num_batched_tokens, "token budget exceeded"
        if self._max_num_logits is not None:
            assert sum(plan.num_logits) <= self._max_num_logits, "logits budget exceeded"
        self.plans.append(plan)

    def _start(self, start: RowStart) -> None:
        assert start.row not in self.rows, f"row {start.row} is started while it is in use"
        firsts = start.first_blocks or (0,) * len(self._windows)
        tables: list[list[int | None]] = [[None] * first for first in firsts]
        if self._keeps_states:
            begun = None if start.state_slot is None else self._saved[start.state_slot]
            assert start.num_computed_tokens == (begun[0] if begun else 0), "a row begins where no states are"
            assert begun is None or begun[1] == _hash_of(start.token_ids[: begun[0]]), "a row begins with states of other tokens"
        self.rows[start.row] = FakeRow(list(start.token_ids), start.num_prompt_tokens, start.sampling, start.num_computed_tokens, tables)

    def _fork(self, fork: RowFork) -> None:
        source = self.rows[fork.source_row]
        assert fork.row not in self.rows or fork.row == fork.source_row, f"row {fork.row} is forked while it is in use"
        assert 1 <= fork.num_tokens <= source.num_computed, "a fork takes over what is not computed"
        assert not self._keeps_states or fork.num_tokens == source.num_computed, "a state is that of the last token alone"
        tokens = [*source.token_ids[: fork.num_tokens], fork.token_id]
        num_shared = len(source.tables[0]) if fork.row == fork.source_row else fork.num_tokens // self._block_size
        tables = [table[:num_shared] for table in source.tables]
        num_prompt_tokens = min(source.num_prompt_tokens, len(tokens))
        self.rows[fork.row] = FakeRow(tokens, num_prompt_tokens, fork.sampling, fork.num_tokens, tables, source.hashes[: fork.num_tokens])

    def _propose(self, row: FakeRow, num_drafts: int) -> None:
        for _ in range(num_drafts):
            self._hash(row, len(row.token_ids))
            right = self._draw.token(row.hashes[-1], len(row.token_ids) - row.num_prompt_tokens, row.sampling)
            is_right = _extend(row.hashes[-1], 7) % 1000 < 1000 * self._draft_accuracy
            row.token_ids.append(right if is_right else right + 1)

    def _hash(self, row: FakeRow, end: int) -> None:
        for position in range(len(row.hashes), end):
            row.hashes.append(_extend(row.hashes[-1] if position else _EMPTY, row.token_ids[position]))

    def _read_kv(self, row: FakeRow, end: int) -> None:
        assert end <= len(row.token_ids), "a position is scheduled whose token nobody knows"
        self._hash(row, end)
        for slots, table, window in zip(self._slots, row.tables, self._windows, strict=True):
            assert end <= len(table) * self._block_size, "a position has no block"
            for position in range(max(0, row.num_computed + 1 - (window or end)), row.num_computed):
                assert slots.get(self._slot(table, position)) == row.hashes[position], f"position {position} reads foreign or stale KV"

    def _write_kv(self, row: FakeRow, end: int) -> None:
        for slots, table in zip(self._slots, row.tables, strict=True):
            for position in range(row.num_computed, end):
                slots[self._slot(table, position)] = row.hashes[position]
        row.num_computed = end

    def _slot(self, table: list[int | None], position: int) -> int:
        block = table[position // self._block_size]
        assert block is not None, f"position {position} lies in a block that the row never had"
        return block * self._block_size + position % self._block_size

    def _report_prompt(self, result: StepResult, row_id: int, end: int, num_logits: int) -> None:
        row = self.rows[row_id]
        if row.sampling.num_prompt_logprobs is None:
            return
        positions = range(end - num_logits, min(end, row.num_prompt_tokens - 1))
        if positions:
            result.prompt_logprobs[row_id] = [
                TokenLogprobs(row.token_ids[position + 1], -(row.hashes[position] % 100) / 10, 1) for position in positions
            ]

    def _draw_tokens(self, result: StepResult, row_id: int, num_drafts: int) -> None:
        """Keep the drafts that are right, and draw the token after them."""
        row = self.rows[row_id]
        drafts = row.token_ids[len(row.token_ids) - num_drafts :]
        del row.token_ids[len(row.token_ids) - num_drafts :]
        drawn: list[int] = []
        while True:
            token_id = self._draw.token(row.hashes[len(row.token_ids) - 1], len(row.token_ids) - row.num_prompt_tokens, row.sampling)
            row.token_ids.append(token_id)
            drawn.append(token_id)
            if token_id == self._error_token_id:
                result.errors[row_id] = "the logits are not finite"
                row.token_ids[-1] = 0  # a row that goes on until the engine ends it
            if not drafts or token_id != drafts.pop(0):
                break
        row.num_computed = len(row.token_ids) - 1
        num_top = row.sampling.num_logprobs or 0
        hashes = row.hashes[len(row.token_ids) - len(drawn) - 1 :]
        reports = [
            TokenLogprobs(token, -(tokens_hash % 100) / 10, 1, fake_best_tokens(tokens_hash, num_top, self._draw.vocab_size))
            for token, tokens_hash in zip(drawn, hashes, strict=False)
        ]
        del row.hashes[row.num_computed :]
        if row_id not in result.errors:
            result.rows.append(row_id)
            result.token_ids.append(drawn)
            result.logprobs.append(reports if row.sampling.num_logprobs is not None else None)


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


def fake_best_tokens(tokens_hash: int, count: int, vocab_size: int) -> tuple[tuple[int, float], ...]:
    """The best tokens after those of a hash, `fake_next_token` first, and log-probabilities that no two of them share."""
    first = fake_next_token(tokens_hash, vocab_size)
    logprob = 0.0
    best = []
    for rank in range(min(count, vocab_size)):
        logprob -= 0.1 + (_extend(tokens_hash, rank) % 100_003) / 100_003
        best.append(((first + 7 * rank) % vocab_size, logprob))
    return tuple(best)


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


def _hash_of(token_ids: list[int]) -> int:
    value = _EMPTY
    for token_id in token_ids:
        value = _extend(value, token_id)
    return value
