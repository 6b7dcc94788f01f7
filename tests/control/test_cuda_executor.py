"""The steps of the CUDA executor over a program that computes nothing: what it sends, in which order, and what it makes of the answers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from octavo._kernels import ThreadPool
from octavo.runner import cuda_executor
from octavo.runner.cuda_executor import CudaExecutor, CudaSettings
from octavo.runner.executor import StepShape
from octavo.step import RowSampling, RowStart, StepPlan
from octavo.structured import GrammarCompiler, regex_grammar
from octavo.text.byte_tokenizer import ByteTokenizer

END = 300
SHAPE = StepShape(max_num_seqs=4, max_num_tokens=64, max_num_logits=16, max_model_len=64, num_blocks=16, block_size=16)


class Tokenizer(ByteTokenizer):
    def __init__(self) -> None:
        super().__init__(END + 1)
        self.eos_token_ids = (END,)
        self.special_token_ids = frozenset((END,))


@dataclass
class Program:
    """Draws the greatest token that a mask allows; without one, 100 and on, one more each time."""

    bytes_per_block: int = 16
    calls: list[tuple] = field(default_factory=list)
    under_way: deque[list[int]] = field(default_factory=deque)
    token_ids: list[list[int]] = field(default_factory=list)  # of each step's batch
    next_token: int = 100
    host_logits: deque[bool] = field(default_factory=deque)
    filled: np.ndarray | None = None

    def make_caches(self, num_blocks: int) -> None: ...
    def start_row(self, row, token_ids, num_prompt_tokens, sampling) -> None:
        self.calls.append(("start", row))

    def end_row(self, row: int) -> None:
        self.calls.append(("end", row))

    def append_tokens(self, row: int, token_ids: list[int]) -> None:
        assert not self.under_way, "a step draws for the row"
        self.calls.append(("append", row, token_ids))

    def launch(self, batch, rows, logits_rows, host_logits) -> None:
        self.launch_forward(batch, host_logits)
        self.launch_draws(rows, logits_rows, [])

    def launch_forward(self, batch, host_logits) -> None:
        assert len(self.under_way) < 2
        self.host_logits.append(host_logits)
        self.token_ids.append(batch.token_ids.tolist())

    def masks(self, count: int) -> np.ndarray:
        self.filled = np.zeros((count, -(-(END + 1) // 32)), np.int32)
        return self.filled

    def launch_draws(self, rows, logits_rows, masked) -> None:
        drawn = []
        for index in range(len(rows)):
            if index in masked:
                bits = np.unpackbits(self.filled[masked.index(index)].view(np.uint8), bitorder="little")
                drawn.append(int(np.flatnonzero(bits).max()))
            else:
                drawn.append(self.next_token)
                self.next_token += 1
        self.under_way.append(drawn)

    def collect(self):
        drawn = self.under_way.popleft()
        logits = np.tile(np.arange(END + 1, dtype=np.float32), (8, 1)) if self.host_logits.popleft() else None
        return drawn, [None] * len(drawn), logits, 1.0


@pytest.fixture
def program(monkeypatch) -> Program:
    made = Program()
    monkeypatch.setattr(cuda_executor, "Graph", lambda: SimpleNamespace(output=lambda name, value: None))
    monkeypatch.setattr(cuda_executor, "CudaPlacement", lambda device: None)
    monkeypatch.setattr(cuda_executor, "RecordOps", lambda graph: None)
    model = SimpleNamespace(outputs=lambda step: {"logits": None}, forward=lambda step: None)
    monkeypatch.setattr(cuda_executor, "build_model", lambda *args: model)
    return made


def make(program: Program, grammars: GrammarCompiler | None = None) -> CudaExecutor:
    device = SimpleNamespace(name="none", measured="", products="none", memory=lambda: (1 << 30, 1 << 30, 0), lower=lambda *args: program)
    config = SimpleNamespace(vocab_size=END + 1)
    return CudaExecutor(device, config, None, SHAPE, ThreadPool(1), CudaSettings(kv_cache_bytes=1 << 20), grammars)


def plan(step: int, started=(), rows=(), tokens=None, drafts=None, ended=(), blocks=None) -> StepPlan:
    rows = list(rows)
    drafts = drafts or [0] * len(rows)
    return StepPlan(
        step,
        ended=list(ended),
        started=list(started),
        rows=rows,
        num_scheduled_tokens=tokens or [1 + count for count in drafts],
        new_block_ids=[blocks or [[] for _ in rows]],
        num_logits=[1 + count for count in drafts],
        draws=[True] * len(rows),
        num_drafts=drafts,
    )


def test_a_row_that_ends_while_a_step_draws_for_it_leaves_nothing_to_the_next(program):
    executor = make(program)
    executor.launch(plan(0, [RowStart(0, [5, 6], 2, RowSampling())], [0], [2], blocks=[[0]]))
    executor.launch(plan(1, rows=[0]))
    assert executor.collect().token_ids == [[100]]
    # Its sequence ended with token 100; step 1, which draws once more for it, is under way.
    executor.launch(plan(2, [RowStart(0, [7, 8, 9], 3, RowSampling())], [0], [3], ended=[0], blocks=[[1]]))
    assert executor.collect().token_ids == [[101]]
    executor.launch(plan(3, rows=[0]))
    assert executor.collect().token_ids == [[102]]
    executor.launch(plan(4, rows=[0]))
    executor.collect(), executor.collect()
    assert program.token_ids == [[5, 6], [~0], [7, 8, 9], [~0], [~0]]
    assert executor._batch.row_tokens(0) == [7, 8, 9, 102, 103, 104]


def test_masks_follow_the_tokens_of_the_step_before(program):
    tokenizer = Tokenizer()
    executor = make(program, GrammarCompiler(tokenizer, END + 1))
    sampling = RowSampling(grammar=regex_grammar("[ab]c[xy]"))
    executor.launch(plan(0, [RowStart(0, [5], 1, sampling), RowStart(1, [6], 1, RowSampling())], [0, 1], [1, 1], blocks=[[0], [1]]))
    found: list[list[list[int]]] = []
    for step in range(1, 4):
        executor.launch(plan(step, rows=[0, 1]))  # one step ahead
        found.append(executor.collect().token_ids)
    found.append(executor.collect().token_ids)
    assert [tokens[0] for tokens in found] == [[ord("b")], [ord("c")], [ord("y")], [END]]
    assert [tokens[1] for tokens in found] == [[100], [101], [102], [103]]


def test_forced_tokens_are_computed_without_being_drawn(program):
    tokenizer = Tokenizer()
    executor = make(program, GrammarCompiler(tokenizer, END + 1))
    sampling = RowSampling(grammar=regex_grammar("[ab]1234[xy]"))
    executor.launch(plan(0, [RowStart(0, [5], 1, sampling)], [0], [1], blocks=[[0]]))
    executor.launch(plan(1, rows=[0], drafts=[3]))
    assert executor.collect().token_ids == [[ord("b")]]
    assert executor.collect().token_ids == [[*b"1234"]]
    assert program.token_ids == [[5], [*b"b123"]]
    assert ("append", 0, [*b"123"]) in program.calls


def test_a_grammar_without_a_compiler_is_an_error_of_its_row(program):
    executor = make(program)
    executor.launch(plan(0, [RowStart(0, [5], 1, RowSampling(grammar=regex_grammar("a")))], [0], [1], blocks=[[0]]))
    result = executor.collect()
    assert not result.rows
    assert "structured output" in result.errors[0]


def test_more_alternatives_than_the_device_reports_come_from_the_logits(program):
    executor = make(program)
    started = [RowStart(0, [5], 1, RowSampling(num_logprobs=70)), RowStart(1, [6], 1, RowSampling())]
    executor.launch(plan(0, started, [0, 1], [1, 1], blocks=[[0], [1]]))
    executor.launch(plan(1, rows=[1], ended=[0]))
    result = executor.collect()
    assert result.token_ids == [[100], [101]]
    (report,) = result.logprobs[0]
    assert (report.token_id, report.rank, len(report.top)) == (100, END + 1 - 100, 70)
    assert result.logprobs[1] is None
    assert executor.collect().token_ids == [[102]]
