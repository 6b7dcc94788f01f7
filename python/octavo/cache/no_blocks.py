"""The block table of a sequence whose model has no pages: an encoder, or layers with states only. The calls of `_runtime.BlockTable`."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["NoBlocks"]


class NoBlocks:
    """Never lacks a block, never holds one, and no prefix is found in it.

    Args:
        forks: whether its sequences take over what others have computed, which is kept elsewhere.

    Attributes:
        num_blocks: 0.
        num_committed: tokens that `commit` was told of.
    """

    def __init__(self, *, forks: bool = False) -> None:
        self._forks = forks
        self.num_blocks = 0
        self.num_committed = 0
        self.block_ids: list[list[int]] = []
        self.first_blocks: list[int] = []
        self.num_held: list[int] = []

    def match_prefix(self, token_ids: Sequence[int]) -> int:
        """No token is cached; where something else says that a prefix is, all tokens but the last."""
        if not self._forks:
            return 0
        self.num_committed = len(token_ids) - 1
        return self.num_committed

    def fork(self, parent: NoBlocks, num_tokens: int) -> int | None:
        """The tokens that need no block of their own: all of them; None where nothing can be taken over."""
        if not self._forks:
            return None
        self.num_committed = num_tokens
        return num_tokens

    def copy_last(self, parent: NoBlocks, num_tokens: int) -> None:
        """There is nothing to copy."""

    def grow(self, num_tokens: int) -> list[list[int]]:
        """The new blocks of each group: there is none."""
        return []

    def commit(self, token_ids: Sequence[int]) -> None:
        """Count the tokens that are computed."""
        self.num_committed += len(token_ids)

    def release_before(self, position: int) -> None:
        """There is nothing to give back."""

    def free(self) -> None:
        """Forget the tokens."""
        self.num_committed = 0
