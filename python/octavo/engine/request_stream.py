"""What a caller reads: an asynchronous iterator of deltas that joins those which a slow reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from octavo.types import Delta, GenerationRequest

__all__ = ["RequestStream"]


class RequestStream:
    """The deltas of one request, all choices interleaved in the order in which they became known.

    Iteration ends after every choice has had its `finish_reason`. A reader that falls behind gets the deltas of a choice joined
    into one, so that nothing is lost and it catches up at once. One reader; all calls on the engine's event loop.

        async with await engine.submit(request) as stream:   # leaving the block aborts what is unfinished
            async for delta in stream: ...
    """

    def __init__(self, request: GenerationRequest, on_abort: Callable[[], None]) -> None:
        self.request = request
        self._on_abort = on_abort
        self._pending: dict[int, list[Delta]] = {}  # choice -> what waits for the reader, oldest first
        self._num_open = request.params.n
        self._reader: asyncio.Future[None] | None = None  # where one waits

    def put(self, delta: Delta) -> None:
        """Engine side: hand over a delta. The one with a finish reason is the last of its choice."""
        pending = self._pending.get(delta.index)
        if pending is None:
            self._pending[delta.index] = [delta]
        else:
            assert pending[-1].finish_reason is None, f"choice {delta.index} got a delta after its end"
            pending.append(delta)
        if delta.finish_reason is not None:
            self._num_open -= 1
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def abort(self) -> None:
        """End the request now. Unfinished choices get a last delta with finish reason ABORT. Idempotent."""
        if self._num_open:
            self._on_abort()

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> Delta:
        while not self._pending:
            if not self._num_open:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        deltas = self._pending.pop(next(iter(self._pending)))
        return deltas[0] if len(deltas) == 1 else Delta.joined(deltas)

    async def __aenter__(self) -> RequestStream:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.abort()
