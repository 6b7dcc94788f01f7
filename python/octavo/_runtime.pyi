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
    def reset_prefix_cache(self) -> None: ...
    def check_integrity(self) -> None:
        """Raise RuntimeError naming the first broken invariant. O(num_blocks)."""

class BlockTable:
    """The blocks of one sequence. Owns a reference to each; frees them when it dies.

    A sequence goes: `match_prefix` or `fork` once, while empty; then `grow` before and `commit` after each step.
    """

    def __init__(self, pool: BlockPool, extras: bytes = b"") -> None:
        """extras: whatever else the KV content depends on (adapter, media, salt); hashed into the first block."""
    @property
    def block_ids(self) -> list[int]: ...
    @property
    def num_blocks(self) -> int: ...
    @property
    def num_committed(self) -> int:
        """Tokens whose KV is known to be computed."""
    def match_prefix(self, token_ids: Sequence[int]) -> int:
        """Take the longest chain of cached full blocks that is a proper prefix of token_ids (at least one token is left to
        compute). Returns the number of tokens taken; they count as committed."""
    def fork(self, parent: BlockTable, num_tokens: int) -> int:
        """Share the parent's committed full blocks that lie within its first num_tokens tokens. Returns tokens shared."""
    def grow(self, num_tokens: int) -> list[int] | None:
        """Own blocks for num_tokens tokens in all. Returns the ids added (maybe none), or None, changing nothing, where the
        pool has too few."""
    def commit(self, token_ids: Sequence[int]) -> None:
        """Append tokens whose KV is computed now; each block that becomes full is published in the prefix index."""
    def free(self) -> None:
        """Release everything; the table is empty and can be used again. Idempotent."""

class Batch:
    """The persistent batch: a row per running sequence; turns a plan's diffs into the flat arrays of a step.

    The arrays are views into memory of the batch, valid until the next `prepare`.
    Letters: T tokens, R rows, L logits rows, M blocks of the longest possible sequence.
    """

    def __init__(self, max_num_seqs: int, max_num_tokens: int, max_num_logits: int, max_model_len: int, block_size: int) -> None: ...
    def start_row(self, row: int, token_ids: Sequence[int], num_prompt_tokens: int) -> None: ...
    def end_row(self, row: int) -> None: ...
    def prepare(
        self,
        rows: Sequence[int],
        num_computed_tokens: Sequence[int],
        num_scheduled_tokens: Sequence[int],
        new_block_ids: Sequence[Sequence[int]],
        num_logits: Sequence[int],
    ) -> None:
        """Build the arrays below. Raises ValueError naming the row when a token or a block that the step needs is not there."""
    def append_tokens(self, rows: Sequence[int], token_ids: Sequence[int]) -> None:
        """Append one sampled token to each row."""
    def row_tokens(self, row: int) -> list[int]: ...
    @property
    def token_ids(self) -> NDArray[np.int32]:
        """[T]"""
    @property
    def positions(self) -> NDArray[np.int32]:
        """[T]"""
    @property
    def slot_mapping(self) -> NDArray[np.int32]:
        """[T] block_id * block_size + offset: where the token's K and V go."""
    @property
    def query_indptr(self) -> NDArray[np.int32]:
        """[R + 1] row r's tokens are query_indptr[r] .. query_indptr[r + 1]."""
    @property
    def context_lens(self) -> NDArray[np.int32]:
        """[R] num_computed + num_scheduled."""
    @property
    def block_tables(self) -> NDArray[np.int32]:
        """[R, M] each row's block ids; entries past its last block are undefined."""
    @property
    def logits_indices(self) -> NDArray[np.int32]:
        """[L] indices into the T tokens whose logits are wanted, ascending."""

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
