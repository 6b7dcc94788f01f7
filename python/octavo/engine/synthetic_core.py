"""A model that computes nothing: it draws tokens at a steady pace, so that what stands before a model can be measured alone.

`octavo serve synthetic:tokens_per_s=100` serves it. Every running choice has its tokens at the same instants, as the rows of a batch do.
A step whose instant has passed unused is made up for, so that a server which cannot keep up gets several tokens at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from octavo.engine.port import CoreLimits, TakeOutputs
from octavo.engine.stats import CoreStats
from octavo.errors import ConfigError, EngineDeadError, InvalidRequestError, QueueFullError
from octavo.scheduler import CoreRequest, SequenceOutput
from octavo.types import FinishReason, KvBlocks

__all__ = ["SYNTHETIC", "WORDS", "SyntheticCore", "SyntheticModel"]

SYNTHETIC = "synthetic:"
WORDS = [word + b" " for word in b"The quick brown fox jumps over the lazy dog.".split()]  # tokens from id 256 on


@dataclass(frozen=True, slots=True)
class SyntheticModel:
    """What the name of a synthetic model says: `synthetic:tokens_per_s=100,max_model_len=4096`.

    Attributes:
        tokens_per_s: of each choice, above 0.
        max_model_len: context window in tokens.
    """

    tokens_per_s: float = 50.0
    max_model_len: int = 32768

    @classmethod
    def parse(cls, name: str) -> SyntheticModel:
        """Read a name that begins with `SYNTHETIC`. Raises `ConfigError` that shows the form."""
        kinds: dict[str, Callable[[str], float]] = {"tokens_per_s": float, "max_model_len": int}
        try:
            pairs = [part.split("=", 1) for part in name.removeprefix(SYNTHETIC).split(",") if part]
            model = cls(**{key: kinds[key](value) for key, value in pairs})  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError):
            model = cls(tokens_per_s=0)
        if not (0 < model.tokens_per_s <= 1e6 and 2 <= model.max_model_len <= 1 << 24):
            raise ConfigError(f"--model {name}: write synthetic:tokens_per_s=100,max_model_len=32768, or one of the two, or neither")
        return model


class _Running:
    """One choice that draws: `left` tokens are to come."""

    __slots__ = ("choice", "left", "position", "request_id")

    def __init__(self, request_id: str, choice: int, left: int) -> None:
        self.request_id = request_id
        self.choice = choice
        self.left = left
        self.position = choice


class SyntheticCore:
    """Implements `Core`.

    Args:
        max_running: most choices that draw at once; a request waits until all of its own have room, and none is larger.
        max_waiting: most choices that wait.
        clock: seconds from an arbitrary origin.
    """

    def __init__(
        self, model: SyntheticModel, *, max_running: int = 4096, max_waiting: int = 4096, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._model = model
        self._limits = CoreLimits(model.max_model_len, model.max_model_len, max_running, max_waiting)
        self._clock = clock
        self._words = range(256, 256 + len(WORDS))
        self._waiting: deque[CoreRequest] = deque()
        self._running: dict[tuple[str, int], _Running] = {}
        self._num_steps = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def limits(self) -> CoreLimits:
        """See `Core.limits`."""
        return self._limits

    @property
    def dead(self) -> str | None:
        """See `Core.dead`."""
        return None

    @property
    def died(self) -> bool:
        """See `Core.died`."""
        return False

    async def wait_dead(self) -> str:
        """See `Core.wait_dead`."""
        await asyncio.Event().wait()
        return ""

    def stats(self) -> CoreStats:
        """See `Core.stats`."""
        return CoreStats(len(self._running), len(self._waiting), 0.0, 0, self._num_steps)

    async def kv_blocks(self) -> list[KvBlocks]:
        """See `Core.kv_blocks`."""
        return []

    async def start(self, take: TakeOutputs) -> None:
        """See `Core.start`."""
        if self._task is None:
            self._task = asyncio.create_task(self._serve(take), name="octavo-synthetic")

    async def add(self, request: CoreRequest) -> None:
        """See `Core.add`."""
        if self._closed:
            raise EngineDeadError("no request can be served: the engine is shutting down")
        if request.samplings[0].num_logprobs is not None or request.samplings[0].num_prompt_logprobs is not None:
            raise InvalidRequestError("a synthetic model has no log-probabilities", "logprobs")
        if request.samplings[0].grammar is not None:
            raise InvalidRequestError(f"{request.grammar_field}: a synthetic model follows no grammar", request.grammar_field)
        if request.num_choices > self._limits.max_running:
            raise InvalidRequestError(f"n is {request.num_choices}; at most {self._limits.max_running} choices run", "n")
        num_waiting = sum(each.num_choices for each in self._waiting)
        if num_waiting and num_waiting + request.num_choices > self._limits.max_waiting:
            raise QueueFullError(f"{num_waiting} choices wait already, of {self._limits.max_waiting}; try again later")
        self._waiting.append(request)
        self._wake.set()

    def finish(self, request_id: str, choice: int | None = None) -> None:
        """See `Core.finish`."""
        if choice is not None:
            self._running.pop((request_id, choice), None)
            return
        self._waiting = deque(request for request in self._waiting if request.request_id != request_id)
        for key in [key for key in self._running if key[0] == request_id]:
            del self._running[key]

    async def close(self) -> None:
        """See `Core.close`."""
        self._closed = True
        self._waiting.clear()
        self._running.clear()
        if self._task is not None:
            self._task.cancel()

    async def _serve(self, take: TakeOutputs) -> None:
        step_s = 1 / self._model.tokens_per_s
        while True:
            await self._wake.wait()
            self._wake.clear()
            last_s = self._clock()
            while self._admit():
                await asyncio.sleep(max(0.0, last_s + step_s - self._clock()))
                num_tokens = max(1, int((self._clock() - last_s) / step_s))
                last_s += num_tokens * step_s
                self._num_steps += num_tokens
                take([self._draw(each, num_tokens) for each in list(self._running.values())])

    def _admit(self) -> bool:
        """Start those that wait, in order, while there is room. Returns whether anybody runs."""
        while self._waiting and len(self._running) + self._waiting[0].num_choices <= self._limits.max_running:
            request = self._waiting.popleft()
            for choice in range(request.num_choices):
                self._running[request.request_id, choice] = _Running(request.request_id, choice, request.max_tokens)
        return bool(self._running)

    def _draw(self, running: _Running, num_tokens: int) -> SequenceOutput:
        num_tokens = min(num_tokens, running.left)
        words, position = self._words, running.position
        token_ids = [words[(position + index) % len(words)] for index in range(num_tokens)]
        running.position += num_tokens
        running.left -= num_tokens
        if running.left:
            return SequenceOutput(running.request_id, running.choice, token_ids)
        del self._running[running.request_id, running.choice]
        return SequenceOutput(running.request_id, running.choice, token_ids, finish_reason=FinishReason.LENGTH)
