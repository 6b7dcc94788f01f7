"""Which prefixes have a copy of their states: those that layers keep for a sequence, as they were behind the prefix's last token.

A prefix ends with a block. Two ends of a prompt are worth a copy: its own last one, behind which the next turn of a chat goes on, and the
one up to which it is like an earlier prompt (Pan et al. 2024, "Marconi"), such as the end of a system prompt that many share. The copies
lie in slots, of which the least recently used is given away; the blocks of layers that attend are found as ever.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from octavo._runtime import BlockTable

__all__ = ["PrefixStart", "SnapshotPoint", "StateSnapshots"]

_LEAST_BLOCKS = 4  # a shorter prefix is computed again sooner than a step is cut for it
_MOST_SEEN = 1 << 16  # ends of prefixes that are remembered without a copy


class SnapshotPoint(NamedTuple):
    """The end of a prefix of which a copy is wanted: tokens before it, and its key."""

    num_tokens: int
    key: bytes


class PrefixStart(NamedTuple):
    """Where a sequence begins.

    Attributes:
        num_tokens: that need not be computed; the table has their blocks.
        slot: of the states behind them; None where it begins from nothing.
        points: further on, ascending.
    """

    num_tokens: int
    slot: int | None
    points: tuple[SnapshotPoint, ...]


class StateSnapshots:
    """The index of the slots. Which step fills one, the scheduler says; plans run in order, so every later one may read it.

    Args:
        num_slots: copies that there is room for, >= 1.
        seed: key of the hash.
    """

    def __init__(self, num_slots: int, block_size: int, seed: bytes) -> None:
        self._block_size = block_size
        self._seed = seed
        self._free = list(range(num_slots))
        self._slots: OrderedDict[bytes, int] = OrderedDict()  # by key, the latest used last
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def begin(self, table: BlockTable, token_ids: Sequence[int], extras: bytes) -> PrefixStart:
        """Find the longest prefix of which states and blocks are kept; one token at least is left.

        `extras`: see `BlockManager.new_table`.
        """
        keys = self._keys(token_ids, extras)
        num_tokens, slot = self._hit(table, token_ids, keys)
        shared = next((index for index in range(len(keys), 0, -1) if keys[index - 1] in self._seen), 0)
        wanted = sorted({shared, len(keys)} - {0})
        points = [SnapshotPoint(index * self._block_size, keys[index - 1]) for index in wanted if index >= _LEAST_BLOCKS]
        for key in keys:
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        return PrefixStart(num_tokens, slot, tuple(p for p in points if p.num_tokens > num_tokens and p.key not in self._slots))

    def save(self, key: bytes) -> int | None:
        """The slot that the states behind a prefix go to; None where they are kept already."""
        if key in self._slots:
            return None
        slot = self._free.pop() if self._free else self._slots.popitem(last=False)[1]
        self._slots[key] = slot
        return slot

    def reset(self) -> None:
        """Forget every prefix."""
        self._free += self._slots.values()
        self._slots.clear()
        self._seen.clear()

    def _hit(self, table: BlockTable, token_ids: Sequence[int], keys: list[bytes]) -> tuple[int, int | None]:
        for index in range(len(keys), 0, -1):
            slot = self._slots.get(keys[index - 1])
            num_tokens = index * self._block_size
            if slot is not None:
                if table.match_prefix(token_ids[: num_tokens + 1]) == num_tokens:
                    self._slots.move_to_end(keys[index - 1])
                    return num_tokens, slot
                table.free()
        return 0, None

    def _keys(self, token_ids: Sequence[int], extras: bytes) -> list[bytes]:
        """Of each end of a block before the last token: a hash of all that is before it."""
        size, keys = self._block_size, []
        key = blake2b(extras, key=self._seed, digest_size=16).digest()
        for end in range(size, len(token_ids), size):
            key = blake2b(key + array("q", token_ids[end - size : end]).tobytes(), digest_size=16).digest()
            keys.append(key)
        return keys
