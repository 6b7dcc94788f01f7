"""Reading a model file by position, so that one that is changed meanwhile is noticed.

Nothing is mapped: a mapped file that shrinks ends the process (SIGBUS), and one that is written over changes the weights in silence.
Bytes read here belong to the process, whatever happens to the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.errors import CheckpointError

__all__ = ["ModelFile"]

_MAX_READ = 1 << 30  # Linux reads a little less than 2 GiB at once


class ModelFile:
    """One open file of a model. It stays the file that was opened, also when another takes its name (`mv new.gguf model.gguf`).

    Attributes:
        size: bytes.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            CheckpointError: missing, unreadable or empty.
        """
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}; check the path and its permissions") from error
        self._state = self._current_state()
        self.size = self._state[0]
        if self.size == 0:
            raise CheckpointError(f"{path} is empty; download it again")

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, start: int, size: int) -> NDArray[np.uint8]:
        """Return the bytes [start, start + size), a copy.

        Raises:
            CheckpointError: the file was changed since it was opened, or cannot be read.
        """
        data = np.empty(size, np.uint8)
        buffer: Any = data
        done = 0
        try:
            while done < size and (count := os.preadv(self._descriptor, [buffer[done : done + _MAX_READ]], start + done)):
                done += count
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror or error}; check the disk it is on") from error
        if done < size or self._current_state() != self._state:
            raise CheckpointError(
                f"{self.path} was changed while the model was being loaded; load it again. "
                "To replace a model, write the new file beside it and rename it (mv), never write into the old one"
            )
        data.flags.writeable = False
        return data

    def _current_state(self) -> tuple[int, int]:
        """Size and time of the last change."""
        try:
            state = os.fstat(self._descriptor)
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror or error}") from error
        return state.st_size, state.st_mtime_ns
