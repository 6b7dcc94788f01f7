"""KV-cache blocks: the Python face of the C++ allocator and prefix index. Only the scheduler and the composition root import it."""

from __future__ import annotations

from octavo.cache.block_manager import BlockGroup, BlockManager
from octavo.cache.state_snapshots import PrefixStart, SnapshotPoint

__all__ = ["BlockGroup", "BlockManager", "PrefixStart", "SnapshotPoint"]
