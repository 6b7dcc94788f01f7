"""The front of the engine: requests become tokens for the core, the core's outputs become text in streams."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from octavo.engine.choice import Choice, ChoiceRules, NoText
from octavo.engine.core_request import core_request
from octavo.engine.live_request import LiveRequest
from octavo.engine.model_info import ModelInfo
from octavo.engine.port import Core
from octavo.engine.request_stream import RequestStream
from octavo.engine.stats import EngineCounters, EngineObserver, EngineStats
from octavo.engine.stats_log import log_stats
from octavo.errors import EngineDeadError, InvalidRequestError
from octavo.log import get_logger
from octavo.scheduler import SequenceOutput
from octavo.types import Delta, FinishReason, GenerationRequest, KvBlocks

if TYPE_CHECKING:
    from octavo.multimodal import ImageProcessor
    from octavo.text.tokenizer import Tokenizer

__all__ = ["AsyncEngine"]

_log = get_logger(__name__)


class AsyncEngine:
    """Implements `Engine` over a `Core`, in this process or another.

    Args:
        core: not started; closed with the engine.
        images: see `Engine`.
        name: of this front, where several share the core; no two have the same.
        seed: requests without a seed draw theirs from this, in order of submission; 0: from the operating system.
        log_stats_s: seconds between lines of throughput in the log; 0: none.
        clock: seconds from an arbitrary origin; only differences are used.
    """

    def __init__(
        self,
        core: Core,
        tokenizer: Tokenizer,
        info: ModelInfo,
        *,
        images: ImageProcessor | None = None,
        name: str = "",
        seed: int = 0,
        log_stats_s: float = 0.0,
        observers: Iterable[EngineObserver] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.tokenizer = tokenizer
        self.info = info
        self.images = images
        self.core = core
        self._log_stats_s = log_stats_s
        self._clock = clock
        self._observers = list(observers)
        self._seeds = random.Random(seed or None)
        self._core_ids = (f"{name}:{number}" if name else str(number) for number in itertools.count())
        self._live: dict[str, LiveRequest] = {}  # by core_id
        self._names: set[str] = set()  # the request_id of each one that lives
        self._idle = asyncio.Event()  # set while none lives and somebody closes the engine
        self._counters = EngineCounters()
        self._log_task: asyncio.Task[None] | None = None
        self._close_task: asyncio.Task[None] | None = None

    @property
    def dead(self) -> str | None:
        """See `Engine.dead`."""
        return "the engine is shutting down" if self._close_task is not None and self.core.dead is None else self.core.dead

    @property
    def died(self) -> bool:
        """See `Engine.died`."""
        return self.core.died

    async def wait_dead(self) -> str:
        """See `Engine.wait_dead`."""
        return await self.core.wait_dead()

    @property
    def max_in_flight(self) -> int:
        """See `Engine.max_in_flight`."""
        limits = self.core.limits
        return min(2 * limits.max_running, limits.max_waiting)

    def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        counted = self._counters
        return EngineStats(
            **asdict(self.core.stats()),
            prompt_tokens=counted.prompt_tokens,
            cached_prompt_tokens=counted.cached_prompt_tokens,
            generation_tokens=counted.generation_tokens,
            finished=dict(counted.finished),
        )

    async def kv_blocks(self) -> list[KvBlocks]:
        """See `Engine.kv_blocks`."""
        return await self.core.kv_blocks()

    def add_observer(self, observer: EngineObserver) -> None:
        """See `Engine.add_observer`."""
        self._observers.append(observer)

    async def start(self) -> None:
        """See `Engine.start`."""
        await self.core.start(self._take)
        if self._log_stats_s > 0 and self._log_task is None:
            self._log_task = asyncio.create_task(log_stats(self.stats, self._log_stats_s), name="octavo-stats")

    async def close(self, drain_s: float = 0.0) -> None:
        """See `Engine.close`."""
        if self._close_task is None:
            self._close_task = asyncio.create_task(self._close(drain_s), name="octavo-close")
        await asyncio.shield(self._close_task)

    async def submit(self, request: GenerationRequest) -> RequestStream:
        """See `Engine.submit`."""
        if self.dead is not None:
            raise EngineDeadError(f"no request can be served: {self.dead}")
        if request.request_id in self._names:
            raise InvalidRequestError(
                f"request_id {request.request_id!r} belongs to a request that still runs; choose another", "request_id"
            )
        core_id = str(next(self._core_ids))
        in_tokens = core_request(request, core_id, self._seeds, self.tokenizer, self.info, self.core.limits)
        live = self._live_request(request, core_id)
        try:
            await self.core.add(in_tokens)
        except BaseException:
            self._forget(live)
            self.core.finish(core_id)
            raise
        for observer in self._observers:
            observer.queued(request)
        return live.stream

    def _live_request(self, request: GenerationRequest, core_id: str) -> LiveRequest:
        params = request.params
        rules = ChoiceRules.of(params)

        def new_choice(index: int) -> Choice:
            is_text = request.pooling is None
            return Choice(index, rules, self.tokenizer.detokenizer(params.skip_special_tokens) if is_text else NoText())

        stream = RequestStream(request, on_abort=lambda: self._end(live, FinishReason.ABORT))
        live = LiveRequest(request, core_id, new_choice, stream, self._clock())
        self._live[core_id] = live
        self._names.add(request.request_id)
        return live

    def _forget(self, live: LiveRequest) -> None:
        if self._live.pop(live.core_id, None) is not None:
            self._names.discard(live.request.request_id)
        if not self._live:
            self._idle.set()

    async def _close(self, drain_s: float) -> None:
        self._idle.clear()
        if self._live and drain_s > 0:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._idle.wait(), drain_s)
        for live in list(self._live.values()):
            self._end(live, FinishReason.ABORT)
        if self._log_task is not None:
            self._log_task.cancel()
        await self.core.close()

    # ---- outputs to readers ---------------------------------------------------------------------------------------------------

    def _take(self, outputs: Sequence[SequenceOutput]) -> None:
        """Hand out what a step made. What comes late, for a choice that has ended here, is dropped."""
        now_s = self._clock()
        for output in outputs:
            live = self._live.get(output.request_id)
            choice = None if live is None else live.choice(output.choice)
            if live is None or choice is None or choice.finish_reason is not None:
                continue
            try:
                delta = live.take(output, choice)
                if delta is not None:
                    self._count_tokens(live, choice, len(delta.token_ids), now_s)
                    self._put(live, delta)
                    if output.finish_reason is None and delta.finish_reason is not None:  # a stop string
                        self.core.finish(live.core_id, delta.index)
            except Exception as error:  # a fault in one request ends that request
                _log.exception("request %s failed while its output was processed", live.request.request_id)
                self._end(live, FinishReason.ERROR, f"internal error while processing the output: {error}")

    def _end(self, live: LiveRequest, reason: FinishReason, error: str | None = None) -> None:
        """End the choices of a request that have not ended; nothing happens where all have."""
        if live.core_id not in self._live:
            return
        self.core.finish(live.core_id)
        for delta in live.end(reason, error):
            self._put(live, delta)

    def _put(self, live: LiveRequest, delta: Delta) -> None:
        live.stream.put(delta)
        if delta.finish_reason is None:
            return
        self._counters.finished[delta.finish_reason] += 1
        live.num_open -= 1
        if live.num_open == 0:
            self._forget(live)
            summary = live.summary(self._clock())
            for observer in self._observers:
                observer.finished(live.request, summary)

    def _count_tokens(self, live: LiveRequest, choice: Choice, num_tokens: int, now_s: float) -> None:
        if num_tokens == 0 and live.request.pooling is None:
            return
        previous_s, choice.last_token_s = choice.last_token_s, now_s
        self._counters.generation_tokens += num_tokens
        if live.first_token_s is None:
            live.first_token_s = now_s
            self._counters.prompt_tokens += len(live.request.prompt_token_ids)
            self._counters.cached_prompt_tokens += live.num_cached_tokens
            for observer in self._observers:
                observer.first_token(live.request, now_s - live.arrival_s)
        elif previous_s is not None:
            for observer in self._observers:
                observer.inter_token(live.request, now_s - previous_s)
