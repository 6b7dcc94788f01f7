"""The persistent batch against rows held in plain lists, over random starts, ends, steps and draws."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from octavo._runtime import Batch, StepArrays

MAX_NUM_SEQS = 3
MAX_NUM_TOKENS = 16
MAX_MODEL_LEN = 11
NUM_GROUPS = 2
ARRAYS = ("token_ids", "positions", "query_indptr", "context_lens", "logits_indices")


class RowModel:
    """A running sequence; `computed` tokens are in its blocks of each cache group."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.blocks: list[list[int]] = [[] for _ in range(NUM_GROUPS)]
        self.computed = 0


class BatchMachine(RuleBasedStateMachine):
    @initialize(block_size=st.integers(1, 5))
    def start(self, block_size: int) -> None:
        self.block_size = block_size
        self.batch = Batch(MAX_NUM_SEQS, MAX_NUM_TOKENS, MAX_NUM_TOKENS, MAX_MODEL_LEN, block_size, NUM_GROUPS)
        self.memory = np.zeros(StepArrays.num_bytes(self.batch) // 4 + 32, np.int32)
        self.slots = [StepArrays(self.batch), StepArrays(self.batch, -(-self.memory.ctypes.data // 128) * 128)]
        self.rows: dict[int, RowModel] = {}
        self.num_blocks = 0

    @precondition(lambda self: len(self.rows) < MAX_NUM_SEQS)
    @rule(data=st.data(), tokens=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=MAX_MODEL_LEN))
    def start_row(self, data: st.DataObject, tokens: list[int]) -> None:
        row = data.draw(st.sampled_from([row for row in range(MAX_NUM_SEQS) if row not in self.rows]))
        self.batch.start_row(row, tokens, data.draw(st.integers(0, len(tokens))))
        self.rows[row] = RowModel(tokens)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), token=st.integers(0, 2**31 - 1))
    def fork_row(self, data: st.DataObject, token: int) -> None:
        source = data.draw(st.sampled_from(sorted(self.rows)))
        model = self.rows[source]
        row = data.draw(st.sampled_from([row for row in range(MAX_NUM_SEQS) if row not in self.rows or row == source]))
        if model.computed == 0:
            with pytest.raises(ValueError, match=f"row {row}: forks 1 tokens"):
                self.batch.fork_row(row, source, 1, token)
            return
        length = data.draw(st.integers(1, model.computed))
        self.batch.fork_row(row, source, length, token)
        fork = self.rows[row] = RowModel([*model.tokens[:length], token])
        fork.computed = length
        for group, blocks in enumerate(model.blocks):
            fork.blocks[group] = blocks if row == source else blocks[: length // self.block_size]
        assert self.batch.row_tokens(row) == fork.tokens
        assert self.batch.num_computed_tokens(row) == length

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def end_row(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.rows)))
        self.batch.end_row(row)
        del self.rows[row]
        with pytest.raises(ValueError, match=f"row {row}"):
            self.batch.row_tokens(row)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        budget = MAX_NUM_TOKENS
        rows, scheduled, logits = [], [], []
        new_blocks: list[list[list[int]]] = [[] for _ in range(NUM_GROUPS)]
        for row in data.draw(st.permutations(sorted(self.rows))):
            model = self.rows[row]
            most = min(budget, len(model.tokens) - model.computed, MAX_MODEL_LEN - model.computed)
            if most < 1:
                continue
            rows.append(row)
            scheduled.append(data.draw(st.integers(1, most)))
            for group, of_group in enumerate(new_blocks):
                of_group.append(self.new_blocks(model.blocks[group], model.computed + scheduled[-1]))
            logits.append(data.draw(st.integers(0, scheduled[-1])))
            budget -= scheduled[-1]
        arrays = data.draw(st.sampled_from([None, *self.slots]))
        self.batch.prepare(rows, scheduled, new_blocks, logits, arrays)
        self.check_arrays(arrays or self.batch, rows, scheduled, new_blocks, logits)
        for row, count in zip(rows, scheduled, strict=True):
            self.rows[row].computed += count

    def new_blocks(self, known: list[int], num_tokens: int) -> list[int]:
        count = max(0, -(-num_tokens // self.block_size) - len(known))
        self.num_blocks += count
        return list(range(self.num_blocks - count, self.num_blocks))

    def check_arrays(
        self, arrays: Batch | StepArrays, rows: list[int], scheduled: list[int], new_blocks: list[list[list[int]]], logits: list[int]
    ) -> None:
        expected: dict[str, list[int]] = {name: [] for name in ARRAYS}
        slots: list[list[int]] = [[] for _ in range(NUM_GROUPS)]
        expected["query_indptr"] = [0]
        for r, row in enumerate(rows):
            model = self.rows[row]
            for group, of_group in enumerate(new_blocks):
                model.blocks[group] = model.blocks[group] + of_group[r]
            end = model.computed + scheduled[r]
            for position in range(model.computed, end):
                block, offset = divmod(position, self.block_size)
                expected["token_ids"].append(model.tokens[position])
                expected["positions"].append(position)
                for group, blocks in enumerate(model.blocks):
                    slots[group].append(blocks[block] * self.block_size + offset)
            num_tokens = len(expected["token_ids"])
            expected["query_indptr"].append(num_tokens)
            expected["context_lens"].append(end)
            expected["logits_indices"] += range(num_tokens - logits[r], num_tokens)
            for group, blocks in enumerate(model.blocks):
                assert arrays.block_tables[group][r, : len(blocks)].tolist() == blocks
        for name in ARRAYS:
            array = getattr(arrays, name)
            assert array.dtype == np.int32
            assert array.tolist() == expected[name], name
        assert [of_group.tolist() for of_group in arrays.slot_mapping] == slots
        assert {of_group.shape for of_group in arrays.block_tables} == {(len(rows), -(-MAX_MODEL_LEN // self.block_size))}

    @rule(data=st.data(), token=st.integers(0, 2**31 - 1))
    def draw(self, data: st.DataObject, token: int) -> None:
        room = [row for row, model in sorted(self.rows.items()) if len(model.tokens) <= MAX_MODEL_LEN]
        rows = data.draw(st.permutations(room)) if room else []
        self.batch.append_tokens(rows, [token + i & 0x7FFFFFFF for i in range(len(rows))])
        for i, row in enumerate(rows):
            self.rows[row].tokens = [*self.rows[row].tokens, token + i & 0x7FFFFFFF]
            assert self.batch.row_tokens(row) == self.rows[row].tokens


TestBatch = BatchMachine.TestCase
TestBatch.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def small_batch() -> Batch:
    """Row 1 runs with four tokens and one block of two; it has been prepared once."""
    batch = Batch(max_num_seqs=4, max_num_tokens=4, max_num_logits=2, max_model_len=8, block_size=2)
    batch.start_row(1, [10, 11, 12, 13], 4)
    batch.prepare([1], [2], [[[7]]], [0])
    return batch


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (([2], [1], [[[3]]], [1]), "row 2: does not run"),
        (([4], [1], [[[3]]], [1]), "row 4: is not within"),
        (([1], [3], [[[8, 9]]], [1]), "row 1: the step needs 5 tokens, but the row has 4"),
        (([1], [2], [[[]]], [1]), "row 1: the step needs 4 tokens, but the row's blocks hold 2"),
        (([1], [1], [[[8, 9, 3, 4]]], [1]), "row 1: 4 new blocks"),
        (([1], [1], [[[-8]]], [1]), "row 1: new block id -8"),
        (([1], [0], [[[8]]], [0]), "row 1: num_scheduled_tokens is 0"),
        (([1], [1], [[[8]]], [2]), "row 1: num_logits is 2"),
        (([1, 1], [1, 1], [[[8], []]], [1, 1]), "row 1: is named twice"),
        (([1], [1], [[]], [1]), "new_block_ids has 0 entries for 1 rows"),
    ],
)
def test_a_step_that_cannot_be_built_is_named_and_changes_nothing(step: tuple, message: str) -> None:
    batch = small_batch()
    with pytest.raises(ValueError, match=message):
        batch.prepare(*step)
    assert batch.token_ids.tolist() == [10, 11]
    batch.prepare([1], [2], [[[8]]], [1])
    assert batch.slot_mapping[0].tolist() == [16, 17]


def test_the_token_budget_holds() -> None:
    batch = small_batch()
    batch.start_row(0, [1, 2, 3], 3)
    with pytest.raises(ValueError, match="5 tokens, but max_num_tokens is 4"):
        batch.prepare([0, 1], [3, 2], [[[1, 2], [8]]], [1, 1])


def test_the_logits_budget_holds() -> None:
    batch = Batch(1, 4, 2, 8, 4)
    batch.start_row(0, [1, 2, 3], 3)
    with pytest.raises(ValueError, match="3 logits rows, but max_num_logits is 2"):
        batch.prepare([0], [3], [[[5]]], [3])


def test_new_blocks_are_those_of_each_cache_group() -> None:
    with pytest.raises(ValueError, match="new_block_ids has 2 entries for 1 cache groups"):
        small_batch().prepare([1], [1], [[[8]], [[9]]], [1])


def test_a_row_is_started_once_and_within_the_context() -> None:
    batch = small_batch()
    with pytest.raises(ValueError, match="row 1: runs already"):
        batch.start_row(1, [1], 1)
    with pytest.raises(ValueError, match="row 2: starts with 9 tokens"):
        batch.start_row(2, list(range(9)), 9)
    with pytest.raises(ValueError, match="row 2: num_prompt_tokens"):
        batch.start_row(2, [1], 2)


def test_tokens_are_appended_to_all_rows_or_none() -> None:
    batch = small_batch()
    with pytest.raises(ValueError, match="row 3: does not run"):
        batch.append_tokens([1, 3], [5, 6])
    for _ in range(5):
        batch.append_tokens([1], [5])
    with pytest.raises(ValueError, match="row 1: is full"):
        batch.append_tokens([1], [5])
    assert batch.row_tokens(1) == [10, 11, 12, 13, 5, 5, 5, 5, 5]


def test_arrays_view_the_batch_and_keep_it_alive() -> None:
    batch = small_batch()
    view = batch.token_ids
    batch.prepare([1], [2], [[[8]]], [1])
    assert view.tolist() == [12, 13]
    del batch
    gc.collect()
    assert view.tolist() == [12, 13]
