"""Read-only memory mapping of a model file."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from octavo.errors import CheckpointError

__all__ = ["MappedBytes", "map_file"]


@dataclass(frozen=True, slots=True)
class MappedBytes:
    """A stretch of a mapped file, bytes."""

    file: mmap.mmap
    start: int
    size: int

    def drop(self) -> None:
        """Give its memory back: what was read from it no longer counts as resident, and is read again when touched."""
        first = self.start // mmap.PAGESIZE * mmap.PAGESIZE
        self.file.madvise(mmap.MADV_DONTNEED, first, self.start + self.size - first)


def map_file(path: Path) -> mmap.mmap:
    """Map a whole file. Views into the map keep it alive; nothing needs closing.

    Raises:
        CheckpointError: the file is missing, unreadable or empty.
    """
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; check the path and its permissions") from error
    except ValueError as error:  # mmap refuses a length of zero
        raise CheckpointError(f"{path} is empty; download it again") from error
