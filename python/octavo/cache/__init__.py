"""KV-cache blocks: the Python face of the C++ allocator and prefix index. Only the scheduler and the composition root import it."""

from __future__ import annotations

from octavo.cache.block_manager import BlockGroup, BlockManager

__all__ = ["BlockGroup", "BlockManager"]
