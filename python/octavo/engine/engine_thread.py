"""An engine on an event loop in a thread of its own, for callers that block, and how it ends, whoever ends it."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from octavo.engine.port import Engine
from octavo.errors import EngineDeadError

__all__ = ["EngineThread"]

ResultT = TypeVar("ResultT")

_LAST_READS_S = 1.0  # for callers of other threads to take what the closed engine told them
_COLLECTED_S = 10.0  # most that the thread in which the garbage collector ran waits for the engine's end


class EngineThread:
    """Starts an engine, serves calls from any thread, ends it. Knows nobody who uses it, so that they can be collected.

    `close` waits for the end; so does the interpreter's exit, after the user's threads have ended. `abandon` is for the garbage
    collector, which may run on any thread: on one of Octavo's own it does not wait, because that thread's work may be what the end
    needs. A forked child has none of these threads: its calls raise, its ends do nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._ending = False
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="octavo-engine", daemon=True)
        self._thread.start()
        self._loop = started.result()
        atexit.register(self.close)

    def call(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine on the loop and wait for its result; an interrupt here (Ctrl-C) cancels it there.

        Raises:
            EngineDeadError: the engine is closed, or belongs to the process that forked this one.
        """
        with self._lock:
            refusal = self._refusal()
            if refusal is None:
                future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        if refusal is not None:
            coroutine.close()
            raise EngineDeadError(refusal)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def post(self, callback: Callable[[], None]) -> None:
        """Run a callback on the loop, without waiting. Does nothing after the end: then there is nothing left to tell."""
        if self._refusal() is None:
            with suppress(RuntimeError):  # the loop has been closed just now
                self._loop.call_soon_threadsafe(callback)

    def close(self) -> None:
        """End what runs, close the engine, wait until that is done. Idempotent."""
        if self._is_forked:
            return
        self._begin_end()
        if threading.current_thread() is not self._thread:
            self._thread.join()
            atexit.unregister(self.close)

    def abandon(self) -> None:
        """Close the engine that nobody can use any more. Never waits for long."""
        if self._is_forked:
            return
        self._begin_end()
        if not threading.current_thread().name.startswith("octavo-"):
            self._thread.join(_COLLECTED_S)

    @property
    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    def _refusal(self) -> str | None:
        if self._is_forked:
            return f"this engine runs in process {self._process}, which forked this one; load the model in the process that uses it"
        return "this engine is closed; make another one" if self._ending else None

    def _begin_end(self) -> None:
        with self._lock:
            if not self._ending:
                self._ending = True
                self._loop.call_soon_threadsafe(self._end_wanted.set)

    def _run(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        try:
            asyncio.run(self._live(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._end_wanted = asyncio.Event()
        await self._engine.start()
        started.set_result(asyncio.get_running_loop())
        await self._end_wanted.wait()
        await self._engine.close()
        callers = asyncio.all_tasks() - {asyncio.current_task()}
        if callers:
            await asyncio.wait(callers, timeout=_LAST_READS_S)  # those that are left are cancelled
