"""The blocks of an engine's KV cache. A sequence's blocks belong to its `BlockTable`, which frees them when it dies."""

from __future__ import annotations

import os

from octavo._runtime import BlockPool, BlockTable

__all__ = ["BlockManager"]


class BlockManager:
    """Hands out block tables over one pool and knows how much of the pool is left.

    Args:
        num_blocks: blocks of the pool, >= 1.
        block_size: tokens in a block.
        prefix_caching: whether full blocks stay findable by their content. `BlockTable.fork` works either way.
        hash_seed: key of the block hash; None: drawn from the operating system, so that no outsider can make prompts collide.
    """

    def __init__(self, num_blocks: int, block_size: int, *, prefix_caching: bool = True, hash_seed: int | None = None) -> None:
        seed = int.from_bytes(os.urandom(8), "little") if hash_seed is None else hash_seed
        self._pool = BlockPool(num_blocks, block_size, prefix_caching, seed)
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_caching = prefix_caching

    @property
    def num_free(self) -> int:
        """Blocks that can be taken now, those that a prefix may still hit included."""
        return self._pool.num_free

    @property
    def max_tokens(self) -> int:
        """Tokens that the whole pool holds."""
        return self.num_blocks * self.block_size

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0..1."""
        return 1.0 - self._pool.num_free / self.num_blocks

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` tokens of one sequence fill."""
        return -(-num_tokens // self.block_size)

    def new_table(self, extras: bytes = b"") -> BlockTable:
        """An empty block table. `extras`: whatever else the KV content depends on (adapter, media, salt)."""
        return BlockTable(self._pool, extras)

    def reset_prefix_cache(self) -> None:
        """Forget every cached prefix; blocks in use stay in use."""
        self._pool.reset_prefix_cache()

    def check_integrity(self) -> None:
        """Raise RuntimeError naming the first broken invariant of the pool. O(num_blocks)."""
        self._pool.check_integrity()
