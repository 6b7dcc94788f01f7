"""The block table of a sequence whose model caches nothing (encoders): the calls of `_runtime.BlockTable`, over no cache groups."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["NoBlocks"]


class NoBlocks:
    """Never lacks a block, never holds one, and no prefix is found in it.

    Attributes:
        num_blocks: 0.
        num_committed: tokens that `commit` was told of.
    """

    def __init__(self) -> None:
        self.num_blocks = 0
        self.num_committed = 0
        self.block_ids: list[list[int]] = []
        self.first_blocks: list[int] = []
        self.num_held: list[int] = []

    def match_prefix(self, token_ids: Sequence[int]) -> int:
        """No token is cached."""
        return 0

    def fork(self, parent: NoBlocks, num_tokens: int) -> int | None:
        """Nothing can be taken over."""
        return None

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
