"""The engine streams behind one API request: submitted together, merged into one, aborted together.

Leaving the `async with` block, however it happens (done, client gone, error), aborts whatever still runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from octavo.server.edge.clients import CLIENT
from octavo.server.edge.errors import ApiError
from octavo.types import Delta, FinishReason, GenerationRequest, MediaSpan, Picture, PromptEmbeds, TokenLogprobs

if TYPE_CHECKING:
    from types import TracebackType

    from octavo.engine.port import Engine
    from octavo.engine.request_stream import RequestStream

__all__ = ["Generation", "Prompt", "Usage"]

_AT_ONCE = 16  # submissions before others get a turn


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids and, where the client sent a text, that text.

    Attributes:
        pictures, media: see `GenerationRequest`.
    """

    token_ids: list[int]
    text: str | None = None
    pictures: tuple[Picture | PromptEmbeds, ...] = ()
    media: tuple[MediaSpan, ...] = ()


class Usage:
    """Token counts of one API request, over all its prompts and choices."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompt_tokens = sum(len(prompt.token_ids) for prompt in prompts)
        self._completion_tokens = 0
        self._cached = [0] * len(prompts)

    def count(self, prompt_index: int, delta: Delta) -> None:
        """Add what `delta` brought."""
        self._completion_tokens += len(delta.token_ids)
        if delta.num_cached_tokens > self._cached[prompt_index]:
            self._cached[prompt_index] = delta.num_cached_tokens

    def body(self) -> dict[str, Any]:
        """Return OpenAI's usage object."""
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(self._cached)},
        }


class Generation:
    """An async iterator of (prompt index, delta) over all prompts of a request.

    Raises what `Engine.submit` raises on entry, and `ApiError` 500 where a choice ends in an error.

    Args:
        score_only: the one token that the engine must draw is dropped: the request wants its prompt's log-probabilities.
    """

    def __init__(
        self,
        engine: Engine,
        requests: Sequence[GenerationRequest],
        *,
        score_only: bool = False,
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._score_only = score_only
        self._streams: list[RequestStream] = []
        self._num_open = len(requests)
        self._client = CLIENT.get()
        self._queue: asyncio.Queue[tuple[int, Delta | Exception | None]] = asyncio.Queue(maxsize=1)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Generation:
        try:
            for index, request in enumerate(self._requests):
                if index % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)
                self._streams.append(await self._exits.enter_async_context(await self._engine.submit(request)))
        except BaseException:
            await self._exits.aclose()
            raise
        if self._client is not None:
            self._client.spend(sum(len(request.prompt_token_ids) for request in self._requests))
        if len(self._streams) > 1:
            pumps = [asyncio.ensure_future(self._pump(index, stream)) for index, stream in enumerate(self._streams)]
            self._exits.push_async_callback(_cancel, pumps)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._exits.aclose()

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> tuple[int, Delta]:
        prompt_index, delta = (0, await anext(self._streams[0])) if len(self._streams) == 1 else await self._next_of_many()
        if self._client is not None:
            self._client.spend(len(delta.token_ids))
        if delta.finish_reason is FinishReason.ERROR:
            raise ApiError(500, delta.error or "the request failed in the engine", kind="server_error", code="generation_failed")
        return prompt_index, _scored(delta) if self._score_only else delta

    async def _next_of_many(self) -> tuple[int, Delta]:
        while self._num_open:
            index, item = await self._queue.get()
            if isinstance(item, Exception):
                raise item
            if item is not None:
                return index, item
            self._num_open -= 1
        raise StopAsyncIteration

    async def _pump(self, index: int, stream: RequestStream) -> None:
        """Carry one stream to the queue; it holds back at most one delta, so the engine feels a slow reader and merges."""
        try:
            async for delta in stream:
                await self._queue.put((index, delta))
        except Exception as error:
            await self._queue.put((index, error))
        else:
            await self._queue.put((index, None))


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _scored(delta: Delta) -> Delta:
    finish = FinishReason.LENGTH if delta.finish_reason is FinishReason.STOP else delta.finish_reason
    logprobs: list[TokenLogprobs] | None = None if delta.logprobs is None else []
    return replace(delta, text="", token_ids=[], logprobs=logprobs, finish_reason=finish, stop_reason=None)
