"""What a caller reads: an asynchronous iterator of deltas that never holds more than one delta per choice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from octavo.types import Delta, FinishReason, GenerationRequest, TokenLogprobs

__all__ = ["RequestStream"]


class RequestStream:
    """The deltas of one request, all choices interleaved in the order in which they became known.

    Iteration ends after every choice has had its `finish_reason`. A reader that falls behind gets the deltas of a choice merged
    into one, so that nothing is lost and nothing piles up. One reader; all calls on the engine's event loop.

        async with engine.submit(request) as stream:   # leaving the block aborts what is unfinished
            async for delta in stream: ...
    """

    def __init__(self, request: GenerationRequest, on_abort: Callable[[], None]) -> None:
        self.request = request
        self._on_abort = on_abort
        self._pending: dict[int, _PendingDelta] = {}  # choice -> what waits for the reader, oldest first
        self._num_open = request.params.n
        self._ready = asyncio.Event()

    def put(self, delta: Delta) -> None:
        """Engine side: hand over a delta. The one with a finish reason is the last of its choice."""
        pending = self._pending.get(delta.index)
        if pending is None:
            self._pending[delta.index] = _PendingDelta(delta)
        else:
            pending.merge(delta)
        self._num_open -= delta.finish_reason is not None
        self._ready.set()

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
            self._ready.clear()
            await self._ready.wait()
        return self._pending.pop(next(iter(self._pending))).delta()

    async def __aenter__(self) -> RequestStream:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.abort()


class _PendingDelta:
    """Deltas of one choice, merged at O(new tokens) each."""

    __slots__ = ("_first", "_last", "_logprobs", "_texts", "_token_ids")

    def __init__(self, first: Delta) -> None:
        self._first = self._last = first
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprobs] = []

    def merge(self, delta: Delta) -> None:
        assert self._last.finish_reason is None, f"choice {delta.index} got a delta after its end"
        self._last = delta
        self._texts.append(delta.text)
        self._token_ids += delta.token_ids
        self._logprobs += delta.logprobs or ()

    def delta(self) -> Delta:
        first, last = self._first, self._last
        if last is first:
            return first
        finish_reason: FinishReason | None = last.finish_reason
        return Delta(
            index=first.index,
            text=first.text + "".join(self._texts),
            token_ids=first.token_ids + self._token_ids,
            logprobs=None if first.logprobs is None else first.logprobs + self._logprobs,
            finish_reason=finish_reason,
            stop_reason=last.stop_reason,
            num_cached_tokens=last.num_cached_tokens,
            prompt_logprobs=first.prompt_logprobs,
            error=last.error,
        )
