"""The control plane's C++ core: block allocator, prefix index, persistent batch, detokenizer. Standard C++ only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

class BlockPool:
    """All KV-cache blocks of an engine: free ones, used ones, and free ones whose content a prefix may still hit (LRU)."""

    def __init__(self, num_blocks: int, block_size: int, prefix_caching: bool, hash_seed: int) -> None: ...
    @property
    def num_blocks(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def num_free(self) -> int:
        """Blocks that can be allocated now, cached ones included (these are evicted, least recently used first)."""
    @property
    def num_cached(self) -> int:
        """Blocks that the prefix index knows, used or free."""
    def states(self) -> bytes:
        """A byte per block: 0 free, 1 held by one table, 2 free but cached (a prefix may still hit it), 3 shared by several tables.
        O(num_blocks)."""
    def reset_prefix_cache(self) -> None: ...
    def check_integrity(self) -> None:
        """Raise RuntimeError naming the first broken invariant. O(num_blocks)."""

class BlockTable:
    """The blocks of one sequence, a table in each cache group. Owns a reference to each block; frees them when it dies.

    A sequence goes: `match_prefix` or `fork` (and `copy_last`) once, while empty; then `grow` before and `commit` after each step.
    Groups are in the order in which they are given; all have equally many blocks, but a windowed one holds none of the first ones.
    """

    def __init__(self, groups: Sequence[tuple[BlockPool, int | None]], extras: bytes = b"") -> None:
        """groups: each one's pool and window (tokens that a token sees, its own included; None: all). extras: whatever else the KV
        content depends on (adapter, media, salt); hashed into the first block."""
    @property
    def block_ids(self) -> list[list[int]]:
        """Of each group, the blocks that it holds."""
    @property
    def first_blocks(self) -> list[int]:
        """Of each group, which block of the sequence the first one of `block_ids` is: 0 without a window."""
    @property
    def num_held(self) -> list[int]:
        """Of each group, the length of `block_ids`."""
    @property
    def num_blocks(self) -> int:
        """Blocks of the sequence, held or not."""
    @property
    def num_committed(self) -> int:
        """Tokens whose KV is known to be computed."""
    def match_prefix(self, token_ids: Sequence[int]) -> int:
        """Take the longest chain of cached full blocks that is a proper prefix of token_ids (at least one token is left to
        compute); of a windowed group only the blocks that the next token sees. Returns the number of tokens taken; they count as
        committed."""
    def fork(self, parent: BlockTable, num_tokens: int) -> int | None:
        """Share the parent's committed full blocks that lie within its first num_tokens tokens. Returns tokens shared; None, changing
        nothing, where the parent has given back a block that the fork would see."""
    def copy_last(self, parent: BlockTable, num_tokens: int) -> list[tuple[int, int]] | None:
        """Complete a fork that ends inside a block: own a block of each group for a copy of the parent's. Returns (source, destination)
        of each group, or None, changing nothing, where a pool has no free block. The tokens in it are not committed yet."""
    def release_before(self, position: int) -> None:
        """Give back the blocks of windowed groups that no token from `position` on sees."""
    def grow(self, num_tokens: int) -> list[list[int]] | None:
        """Own blocks for num_tokens tokens in all. Returns the ids added to each group (maybe none), or None, changing nothing, where a
        pool has too few."""
    def commit(self, token_ids: Sequence[int]) -> None:
        """Append tokens whose KV is computed now; each block that becomes full is published in the prefix index."""
    def free(self) -> None:
        """Release everything; the table is empty and can be used again. Idempotent."""

class StepArrays:
    """Memory for the arrays of one step of a batch: of its own, or at an address that an executor gives (a pinned slot of a ring).

    All arrays lie in one run of memory at fixed offsets, multiples of 128 bytes, in the order token_ids, positions, query_indptr,
    context_lens, logits_indices, slot_mapping of each cache group, block_tables of each. Letters: T tokens, R rows, L logits rows,
    M blocks of the longest possible sequence.
    """

    def __init__(self, batch: Batch, address: int | None = None) -> None:
        """address: of num_bytes(batch) bytes, aligned to 128, that outlive the object."""
    @staticmethod
    def num_bytes(batch: Batch) -> int: ...
    @property
    def address(self) -> int: ...
    @property
    def token_ids(self) -> NDArray[np.int32]:
        """[T]; ~row for a token that is drawn but not known yet: the row's last drawn id, on the device."""
    @property
    def positions(self) -> NDArray[np.int32]:
        """[T]"""
    @property
    def row_ids(self) -> NDArray[np.int32]:
        """[R] which row of the batch each row of the step is; memory of the object's own."""
    @property
    def slot_mapping(self) -> tuple[NDArray[np.int32], ...]:
        """Of each cache group [T]: block_id * block_size + offset, where the token's K and V go."""
    @property
    def query_indptr(self) -> NDArray[np.int32]:
        """[R + 1] row r's tokens are query_indptr[r] .. query_indptr[r + 1]."""
    @property
    def context_lens(self) -> NDArray[np.int32]:
        """[R] tokens computed before the step and in it."""
    @property
    def block_tables(self) -> tuple[NDArray[np.int32], ...]:
        """Of each cache group [R, M]: each row's block ids; entries behind a window and past the last block mean nothing."""
    @property
    def logits_indices(self) -> NDArray[np.int32]:
        """[L] indices into the T tokens whose logits are wanted, ascending."""

class Batch:
    """The persistent batch: a row per running sequence; turns a plan's diffs into the flat arrays of a step.

    The array properties are those of its own `StepArrays`, valid until the next `prepare` without a destination.
    """

    def __init__(
        self, max_num_seqs: int, max_num_tokens: int, max_num_logits: int, max_model_len: int, block_size: int, num_groups: int = 1
    ) -> None: ...
    def start_row(
        self, row: int, token_ids: Sequence[int], num_prompt_tokens: int, num_computed_tokens: int = 0, first_blocks: Sequence[int] = ()
    ) -> None:
        """Meanings as in `step.RowStart`."""
    def fork_row(self, row: int, source_row: int, num_tokens: int, token_id: int) -> None:
        """Meanings as in `step.RowFork`."""
    def end_row(self, row: int) -> None: ...
    def prepare(
        self,
        rows: Sequence[int],
        num_scheduled_tokens: Sequence[int],
        new_block_ids: Sequence[Sequence[Sequence[int]]],
        num_logits: Sequence[int],
        arrays: StepArrays | None = None,
    ) -> None:
        """Write the arrays of a step and count its tokens as computed. Raises ValueError naming the row, and changes nothing, when a
        token or a block that the step needs is not there."""
    def expect_tokens(self, rows: Sequence[int]) -> None:
        """A launched step draws the next token of each row: later steps may compute it before `append_tokens` brings its value."""
    def append_tokens(self, rows: Sequence[int], token_ids: Sequence[int]) -> None:
        """Append one drawn token to each row."""
    def num_computed_tokens(self, row: int) -> int:
        """Tokens of the row that prepared steps compute."""
    def num_prompt_tokens(self, row: int) -> int: ...
    def row_tokens(self, row: int) -> list[int]:
        """The row's tokens whose values are known."""
    @property
    def token_ids(self) -> NDArray[np.int32]: ...
    @property
    def positions(self) -> NDArray[np.int32]: ...
    @property
    def row_ids(self) -> NDArray[np.int32]:
        """[R] which row of the batch each row of the step is."""
    @property
    def slot_mapping(self) -> tuple[NDArray[np.int32], ...]: ...
    @property
    def query_indptr(self) -> NDArray[np.int32]: ...
    @property
    def context_lens(self) -> NDArray[np.int32]: ...
    @property
    def block_tables(self) -> tuple[NDArray[np.int32], ...]: ...
    @property
    def logits_indices(self) -> NDArray[np.int32]: ...

class TokenTable:
    """The bytes of every token of a vocabulary. Immutable; shared by the detokenizers of all sequences."""

    def __init__(self, pieces: Sequence[bytes], special_ids: Sequence[int], strip_leading_space: bool) -> None:
        """pieces[id]: the bytes that the token stands for. strip_leading_space: the text's first space is an artefact (SentencePiece)."""

class Detokenizer:
    """Token ids to text of one sequence, incrementally: text never ends inside a UTF-8 character.

    Bytes that can never become valid UTF-8 come out as U+FFFD, as in Python's `errors="replace"`.
    """

    def __init__(self, table: TokenTable, skip_special_tokens: bool) -> None: ...
    def push(self, token_ids: Sequence[int]) -> str: ...
    def finish(self) -> str:
        """What is still held back, broken characters replaced."""

class StopMatcher:
    """Finds the first of several stop strings in a stream of text, across the borders of its pieces.

    Text that may be the beginning of a stop string is held back until it is decided.
    """

    def __init__(self, stops: Sequence[str], include_stop: bool) -> None: ...
    def push(self, text: str) -> tuple[str, str | None]:
        """Returns (text that can be emitted, the stop string found or None). After a match nothing more is emitted."""
    def finish(self) -> str:
        """The text still held back."""
    def fork(self) -> StopMatcher:
        """One that goes on from here on its own; the automatons are shared."""

def version() -> str: ...
