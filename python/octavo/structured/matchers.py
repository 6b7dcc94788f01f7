"""The grammar state of the running rows, and the masks that it makes. Lives beside the sampler, in the runner's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher

    from octavo.structured.compiler import GrammarCompiler

__all__ = ["Matchers"]

_BITS = 32
_PARALLEL_FROM = 4  # masks; fewer are made faster without other threads


class Matchers:
    """One matcher for each row whose text follows a grammar."""

    def __init__(self, compiler: GrammarCompiler, num_threads: int) -> None:
        self._compiler = compiler
        self._num_threads = num_threads
        self._num_words = -(-compiler.vocab_size // _BITS)
        self._rows: dict[int, LLMatcher] = {}
        self._forces: set[int] = set()
        self._executor: LLExecutor | None = None

    def __contains__(self, row: int) -> bool:
        return row in self._rows

    def start_row(self, row: int, grammar: str, output_token_ids: Sequence[int], *, forces: bool = True) -> None:
        """Begin a row; the tokens that it drew already (before a preemption) are read again. Raises ValueError where they do not fit.

        `forces`: whether `forced` may give its tokens.
        """
        self._rows[row] = self._compiler.matcher(grammar)
        if forces:
            self._forces.add(row)
        self.accept(row, output_token_ids)

    def end_row(self, row: int) -> None:
        """Forget a row; nothing happens where it has no grammar."""
        self._rows.pop(row, None)
        self._forces.discard(row)

    def fork_row(self, row: int, source_row: int) -> None:
        """Let `row` go on from where `source_row` is."""
        if source_row in self._rows:
            self._rows[row] = self._rows[source_row].deep_copy()
            if source_row in self._forces:
                self._forces.add(row)

    def accept(self, row: int, token_ids: Sequence[int]) -> None:
        """Take drawn tokens. What follows the end of the grammar is ignored. Raises ValueError for a token that the mask barred."""
        matcher = self._rows[row]
        for token_id in token_ids:
            if matcher.is_stopped() and not matcher.is_error():
                return
            if not matcher.consume_token(token_id):
                raise ValueError(f"token {token_id} does not follow the request's grammar: {matcher.get_error()}")

    def forced(self, row: int, max_tokens: int) -> list[int]:
        """The tokens, at most so many, that the row's grammar, where it has one, leaves no choice about; they are not accepted yet."""
        if row not in self._forces or max_tokens < 1:
            return []
        matcher = self._rows[row]
        return [] if matcher.is_stopped() else matcher.compute_ff_tokens()[:max_tokens]

    def masks(self, rows: Sequence[int]) -> NDArray[np.int32] | None:
        """Return int32 [len(rows), ceil(V / 32)], a set bit for each token that may come next, all set for a row without a grammar.

        None where no row has a grammar.
        """
        matching = [(self._rows[row], index) for index, row in enumerate(rows) if row in self._rows]
        if not matching:
            return None
        masks = np.full((len(rows), self._num_words), -1, np.int32)
        self._fill(matching, masks)
        return masks

    def fill(self, rows: Sequence[int], masks: NDArray[np.int32]) -> None:
        """Write the masks of rows that all have a grammar into int32 [len(rows), ceil(V / 32)]."""
        self._fill([(self._rows[row], index) for index, row in enumerate(rows)], masks)

    def _fill(self, matching: list[tuple[LLMatcher, int]], masks: NDArray[np.int32]) -> None:
        if len(matching) < _PARALLEL_FROM or self._num_threads == 1:
            for matcher, index in matching:
                matcher.unsafe_compute_mask_ptr(masks[index].ctypes.data, masks.shape[1] * masks.itemsize)
            return
        if self._executor is None:
            from llguidance import LLExecutor

            self._executor = LLExecutor(self._num_threads)
        self._executor.unsafe_compute_mask_ptr(matching, masks.ctypes.data, masks.shape[1] * masks.itemsize, len(masks))
