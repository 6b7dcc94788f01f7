"""Threads for work on large inputs, so that the event loop keeps breathing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Workers"]

_LARGE = 10_000  # characters, tokens or bytes; below, a thread's hand-over costs more than it saves
_NUM_THREADS = 2
ResultT = TypeVar("ResultT")


class Workers:
    """A few threads that the requests of one application share. Work whose client has left before it began is never done."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="octavo-edge")

    async def run(self, size: int, work: Callable[[], ResultT]) -> ResultT:
        """Run `work` here when its input is short, in a thread when `size` (characters, tokens or bytes) is large."""
        if size <= _LARGE:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
