"""Block pool and block tables against a model in plain lists and dicts, down to the ids that are handed out."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from octavo._runtime import BlockPool, BlockTable

NUM_BLOCKS = 7
BLOCK_SIZE = 2

# Few texts, which part early, late or never: hits, duplicates and evictions are frequent.
TEXTS = ([1] * 10, [1] * 5 + [2] * 5, [1] * 9 + [2], [2] * 10)
texts = st.sampled_from(TEXTS)
lengths = st.integers(0, len(TEXTS[0]))


class TableModel:
    """A sequence: the text it will hold, its blocks, the tokens committed to them, and the pool's epoch when it began."""

    def __init__(self, text: list[int], extras: bytes) -> None:
        self.text = text
        self.extras = extras
        self.blocks: list[int] = []
        self.tokens: list[int] = []
        self.epoch = 0

    def key(self, num_tokens: int) -> tuple[bytes, tuple[int, ...]]:
        return self.extras, tuple(self.tokens[:num_tokens])


class PoolModel:
    """Free blocks in the order in which they are taken; which content is published where."""

    def __init__(self, caching: bool) -> None:
        self.caching = caching
        self.free = list(range(NUM_BLOCKS))
        self.refs = [0] * NUM_BLOCKS
        self.published: dict[tuple[bytes, tuple[int, ...]], int] = {}
        self.epoch = 0

    def share(self, block: int) -> None:
        if self.refs[block] == 0:
            self.free.remove(block)
        self.refs[block] += 1

    def match(self, table: TableModel, tokens: list[int]) -> int:
        table.epoch = self.epoch
        for end in range(BLOCK_SIZE, len(tokens), BLOCK_SIZE):
            block = self.published.get((table.extras, tuple(tokens[:end])))
            if block is None:
                break
            self.share(block)
            table.blocks.append(block)
            table.tokens = tokens[:end]
        return len(table.tokens)

    def fork(self, table: TableModel, parent: TableModel, num_tokens: int) -> int:
        shared = min(num_tokens, len(parent.tokens)) // BLOCK_SIZE
        table.epoch = parent.epoch
        table.blocks = parent.blocks[:shared]
        table.tokens = parent.tokens[: shared * BLOCK_SIZE]
        for block in table.blocks:
            self.share(block)
        return shared * BLOCK_SIZE

    def grow(self, table: TableModel, num_tokens: int) -> list[int] | None:
        if not table.blocks:
            table.epoch = self.epoch
        num_added = max(0, -(-num_tokens // BLOCK_SIZE) - len(table.blocks))
        if num_added > len(self.free):
            return None
        added, self.free = self.free[:num_added], self.free[num_added:]
        self.published = {key: block for key, block in self.published.items() if block not in added}
        for block in added:
            self.refs[block] = 1
        table.blocks += added
        return added

    def commit(self, table: TableModel, tokens: list[int]) -> None:
        for token in tokens:
            table.tokens.append(token)
            index, offset = divmod(len(table.tokens), BLOCK_SIZE)
            if offset == 0 and self.caching and table.epoch == self.epoch:
                self.published.setdefault(table.key(len(table.tokens)), table.blocks[index - 1])

    def release(self, table: TableModel) -> None:
        for block in reversed(table.blocks):
            self.refs[block] -= 1
            if self.refs[block] == 0:
                self.free.insert(len(self.free) if block in self.published.values() else 0, block)
        table.blocks, table.tokens = [], []

    def states(self) -> bytes:
        cached = set(self.published.values())
        return bytes(min(refs, 2) * 2 - 1 if refs else 2 * (block in cached) for block, refs in enumerate(self.refs))

    def reset(self) -> None:
        self.published.clear()
        self.epoch += 1


Pair = tuple[BlockTable, TableModel]


class BlockPoolMachine(RuleBasedStateMachine):
    tables = Bundle("tables")

    @initialize(caching=st.booleans(), seed=st.integers(0, 2**64 - 1))
    def start(self, caching: bool, seed: int) -> None:
        self.pool = BlockPool(NUM_BLOCKS, BLOCK_SIZE, caching, seed)
        self.model = PoolModel(caching)

    @rule(target=tables, text=texts, extras=st.sampled_from([b"", b"", b"salt"]))
    def new_table(self, text: list[int], extras: bytes) -> Pair:
        return BlockTable([(self.pool, None)], extras), TableModel(text, extras)

    @rule(target=tables, pair=tables, length=lengths)
    def fork(self, pair: Pair, length: int) -> Pair:
        parent, parent_model = pair
        table, model = BlockTable([(self.pool, None)], parent_model.extras), TableModel(parent_model.text, parent_model.extras)
        assert table.fork(parent, length) == self.model.fork(model, parent_model, length)
        return table, model

    @rule(target=tables, pair=tables, length=lengths)
    def fork_inside_a_block(self, pair: Pair, length: int) -> Pair:
        parent, parent_model = pair
        table, model = BlockTable([(self.pool, None)], parent_model.extras), TableModel(parent_model.text, parent_model.extras)
        length = min(length, len(parent_model.tokens))
        shared = table.fork(parent, length)
        assert shared == self.model.fork(model, parent_model, length)
        if shared < length:
            copies = table.copy_last(parent, length)
            added = self.model.grow(model, length)
            assert copies == (None if added is None else [(parent_model.blocks[shared // BLOCK_SIZE], *added)])
            if added is not None:
                model.epoch = parent_model.epoch
                self.model.commit(model, parent_model.tokens[shared:length])
                table.commit(parent_model.tokens[shared:length])
        return table, model

    @rule(pair=tables, length=lengths)
    def match(self, pair: Pair, length: int) -> None:
        table, model = pair
        if model.blocks:
            with pytest.raises(ValueError, match="empty table"):
                table.match_prefix(model.text)
            return
        assert table.match_prefix(model.text[:length]) == self.model.match(model, model.text[:length])

    @rule(pair=tables, length=lengths)
    def grow(self, pair: Pair, length: int) -> None:
        table, model = pair
        added = self.model.grow(model, length)
        assert table.grow(length) == (None if added is None else [added])

    @rule(pair=tables, length=lengths)
    def commit(self, pair: Pair, length: int) -> None:
        table, model = pair
        tokens = model.text[len(model.tokens) : length]
        if len(model.tokens) + len(tokens) > len(model.blocks) * BLOCK_SIZE:
            with pytest.raises(ValueError, match="grow it"):
                table.commit(tokens)
            return
        self.model.commit(model, tokens)
        table.commit(tokens)

    @rule(pair=tables, length=lengths)
    def serve(self, pair: Pair, length: int) -> None:
        """The usual order of calls, for a text of this length."""
        self.free(pair)
        self.match(pair, length)
        self.grow(pair, length)
        self.commit(pair, length)

    @rule(pair=tables)
    def free(self, pair: Pair) -> None:
        table, model = pair
        self.model.release(model)
        table.free()

    @rule(pair=consumes(tables))
    def drop(self, pair: Pair) -> None:
        self.free(pair)

    @rule()
    def reset(self) -> None:
        self.model.reset()
        self.pool.reset_prefix_cache()

    @rule(pair=tables)
    def check_table(self, pair: Pair) -> None:
        table, model = pair
        assert table.block_ids == [model.blocks]
        assert table.num_blocks == len(model.blocks)
        assert table.num_committed == len(model.tokens)

    @invariant()
    def counts_agree(self) -> None:
        assert self.pool.num_free == len(self.model.free)
        assert self.pool.num_cached == len(self.model.published)
        assert self.pool.states() == self.model.states()
        self.pool.check_integrity()


TestBlockPool = BlockPoolMachine.TestCase
TestBlockPool.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def filled(pool: BlockPool, tokens: list[int]) -> BlockTable:
    table = BlockTable([(pool, None)])
    matched = table.match_prefix(tokens)
    assert table.grow(len(tokens)) is not None
    table.commit(tokens[matched:])
    return table


def test_a_dead_table_frees_its_blocks_and_a_live_one_keeps_the_pool() -> None:
    pool = BlockPool(4, 16, True, 1)
    table = filled(pool, list(range(40)))
    assert pool.num_free == 1
    del table
    gc.collect()
    assert pool.num_free == 4
    table = filled(pool, list(range(20)))
    del pool
    gc.collect()
    assert table.grow(64) is not None


def test_the_end_of_a_sequence_is_evicted_before_its_prefix() -> None:
    pool = BlockPool(4, 1, True, 1)
    filled(pool, [5, 6, 7, 8]).free()
    other = BlockTable([(pool, None)])
    other.grow(2)
    again = BlockTable([(pool, None)])
    assert again.match_prefix([5, 6, 7, 8]) == 2


def test_a_fork_cannot_take_blocks_of_other_content() -> None:
    pool = BlockPool(4, 1, True, 1)
    parent = filled(pool, [5, 6])
    with pytest.raises(ValueError, match="extras"):
        BlockTable([(pool, None)], b"adapter").fork(parent, 2)
    with pytest.raises(ValueError, match="another pool"):
        BlockTable([(BlockPool(4, 1, True, 1), None)]).fork(parent, 2)


@pytest.mark.parametrize(("num_blocks", "block_size"), [(0, 16), (8, 0), (-1, 16)])
def test_a_pool_needs_blocks(num_blocks: int, block_size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BlockPool(num_blocks, block_size, True, 0)


@pytest.mark.parametrize(("tokens", "error"), [([1, -1], ValueError), ([2**31], ValueError), ([1.0], TypeError), (7, TypeError)])
def test_tokens_must_be_token_ids(tokens: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        BlockTable([(BlockPool(2, 1, True, 0), None)]).match_prefix(tokens)  # type: ignore[arg-type]
