"""The blocks of an engine's KV cache. A sequence's blocks belong to its `BlockTable`, which frees them when it dies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, cast

from octavo._runtime import BlockPool, BlockTable
from octavo.cache.no_blocks import NoBlocks
from octavo.cache.state_snapshots import StateSnapshots
from octavo.types import KvBlocks

__all__ = ["BlockGroup", "BlockManager"]


class BlockGroup(NamedTuple):
    """The blocks of the layers that keep the same tokens.

    Attributes:
        num_blocks: blocks of its pool, >= 1.
        window: tokens that a token sees, its own included; None: all of them. Blocks behind it are given back.
    """

    num_blocks: int
    window: int | None = None


class BlockManager:
    """Hands out block tables over a pool for each cache group and knows how much of the pools is left.

    Args:
        groups: in the order of the runner's cache groups; none for a model that caches nothing.
        block_size: tokens in a block.
        prefix_caching: whether full blocks stay findable by their content. `BlockTable.fork` works either way.
        keeps_states: whether layers keep a state for each sequence, beside the blocks: one that takes over what another has computed takes
            over all of it.
        num_snapshots: copies of a sequence's states that there is room for, so that prefixes can be found; 0: none is.
        hash_seed: key of the block hash; None: drawn from the operating system, so that no outsider can make prompts collide.

    Attributes:
        num_blocks: of all pools.
        snapshots: of states; None where there are none, or no room.
        windowed: whether a group has a window.
    """

    def __init__(
        self,
        groups: Sequence[BlockGroup],
        block_size: int,
        *,
        prefix_caching: bool = True,
        keeps_states: bool = False,
        num_snapshots: int = 0,
        hash_seed: int | None = None,
    ) -> None:
        seed = int.from_bytes(os.urandom(8), "little") if hash_seed is None else hash_seed
        self._pools = [(BlockPool(group.num_blocks, block_size, prefix_caching, seed), group.window) for group in groups]
        self.num_blocks = sum(group.num_blocks for group in groups)
        self.windowed = any(group.window is not None for group in groups)
        self.block_size = block_size
        self.prefix_caching = prefix_caching
        self.keeps_states = keeps_states
        self.snapshots = StateSnapshots(num_snapshots, block_size, seed.to_bytes(8, "little")) if num_snapshots else None

    @property
    def num_groups(self) -> int:
        return len(self._pools)

    @property
    def num_free(self) -> int:
        """Blocks that can be taken now, those that a prefix may still hit included; of all pools."""
        return sum(pool.num_free for pool, _ in self._pools)

    def kv_blocks(self) -> list[KvBlocks]:
        """The state of every block of each cache group. O(num_blocks)."""
        return [KvBlocks(window, pool.states()) for pool, window in self._pools]

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0..1; that of the fullest pool."""
        return max((1.0 - pool.num_free / pool.num_blocks for pool, _ in self._pools), default=0.0)

    def max_tokens(self, max_chunk: int, num_sequences: int = 1) -> int:
        """Most tokens of each of `num_sequences` that have the pools for themselves, and compute at most `max_chunk` tokens in a step.
        Several share nothing, and each has a block to spare."""
        most = 1 << 62
        for pool, window in self._pools:
            num_blocks = pool.num_blocks if num_sequences == 1 else pool.num_blocks // num_sequences - 1
            if window is None or num_blocks < self._blocks_in_sight(window, max_chunk):
                most = min(most, max(num_blocks, 0) * self.block_size)
        return most

    def has_room(self, table: BlockTable, num_tokens: int, max_chunk: int, num_spare: int) -> bool:
        """Whether each pool has the blocks that the table lacks for `num_tokens` tokens, and `num_spare` more."""
        num_needed = self.blocks_for(num_tokens)
        for (pool, window), num_held in zip(self._pools, table.num_held, strict=True):
            most = num_needed if window is None else min(num_needed, self._blocks_in_sight(window, max_chunk))
            if most - num_held + num_spare > pool.num_free:
                return False
        return True

    def can_fork(self, owner: BlockTable, num_tokens: int) -> bool:
        """Whether a sequence can take over the first `num_tokens` tokens of `owner`'s: a state is that of the last token alone."""
        return owner.num_committed == num_tokens or (not self.keeps_states and owner.num_committed > num_tokens)

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` tokens of one sequence fill."""
        return -(-num_tokens // self.block_size)

    def new_table(self, extras: bytes = b"") -> BlockTable:
        """An empty block table. `extras`: whatever else the KV content depends on (adapter, media, salt)."""
        return BlockTable(self._pools, extras) if self._pools else cast("BlockTable", NoBlocks(forks=self.keeps_states))

    def reset_prefix_cache(self) -> None:
        """Forget every cached prefix; blocks in use stay in use."""
        for pool, _ in self._pools:
            pool.reset_prefix_cache()
        if self.snapshots is not None:
            self.snapshots.reset()

    def check_integrity(self) -> None:
        """Raise RuntimeError naming the first broken invariant of a pool. O(num_blocks)."""
        for pool, _ in self._pools:
            pool.check_integrity()

    def _blocks_in_sight(self, window: int, max_chunk: int) -> int:
        """Most blocks that a sequence holds in a group while a step computes `max_chunk` tokens of it."""
        return self.blocks_for(window - 1 + max_chunk) + 1
