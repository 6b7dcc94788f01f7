"""Read-only memory mapping of a model file."""

from __future__ import annotations

import mmap
from pathlib import Path

from octavo.errors import CheckpointError

__all__ = ["map_file"]


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
