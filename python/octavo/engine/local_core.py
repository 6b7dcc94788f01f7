"""The core in this process: one task runs steps while there is work; after a fault it goes on with a new runner, where one can be built."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from octavo.engine.engine_core import EngineCore
from octavo.engine.port import CoreLimits, TakeOutputs
from octavo.engine.stats import CoreStats
from octavo.engine.watchdog import Fault, Rebuilds
from octavo.errors import EngineDeadError, InvalidRequestError, QueueFullError
from octavo.log import get_logger
from octavo.scheduler import CoreRequest, Scheduler
from octavo.step import DeviceLostError, Runner
from octavo.types import KvBlocks

if TYPE_CHECKING:
    from octavo.structured import GrammarCompiler

__all__ = ["LocalCore"]

_log = get_logger(__name__)

_LAST_STEPS_S = 5.0  # time that the steps in flight get to end after the last request has


class LocalCore:
    """Implements `Core` over an `EngineCore`.

    Args:
        max_waiting: most choices that wait; a request whose choices would be more is refused, unless none waits.
        max_waiting_tokens: most prompt tokens that wait, likewise; None: any number.
        rebuild: makes a scheduler and a runner like those of `engine_core`, after a fault that leaves the process whole; may block.
        grammars: compiles those of structured output; None: none is served.
    """

    def __init__(
        self,
        engine_core: EngineCore,
        *,
        max_waiting: int = 4096,
        max_waiting_tokens: int | None = None,
        rebuild: Callable[[], tuple[Scheduler, Runner]] | None = None,
        grammars: GrammarCompiler | None = None,
    ) -> None:
        self.engine_core = engine_core
        self._max_waiting = max_waiting
        self._max_waiting_tokens = max_waiting_tokens
        self._rebuild = rebuild
        self._grammars = grammars
        self._compiling: set[str] = set()  # requests whose grammars are compiled and that nobody has finished meanwhile
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._closing = False
        self._rebuilds = Rebuilds()
        self._dead: str | None = None
        self._lost = False
        self._died = asyncio.Event()

    @property
    def limits(self) -> CoreLimits:
        """See `Core.limits`."""
        scheduler = self.engine_core.scheduler
        return CoreLimits(
            scheduler.max_sequence_length,
            scheduler.max_prompt_length,
            scheduler.max_running,
            self._max_waiting,
            scheduler.max_beam_lengths,
        )

    @property
    def dead(self) -> str | None:
        """See `Core.dead`."""
        return self._dead

    @property
    def died(self) -> bool:
        """See `Core.died`."""
        return self._died.is_set()

    async def wait_dead(self) -> str:
        """See `Core.wait_dead`."""
        await self._died.wait()
        return self._dead or ""

    def stats(self) -> CoreStats:
        """See `Core.stats`."""
        return self.engine_core.stats(self._rebuilds.count)

    async def kv_blocks(self) -> list[KvBlocks]:
        """See `Core.kv_blocks`."""
        return self.engine_core.scheduler.kv_blocks()

    async def start(self, take: TakeOutputs) -> None:
        """See `Core.start`."""
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._serve(take), name="octavo-engine")

    async def add(self, request: CoreRequest) -> None:
        """See `Core.add`."""
        if request.samplings[0].grammar is not None and not await self._compiled(request, request.samplings[0].grammar):
            return
        if self._dead is not None or self._closing:
            raise EngineDeadError(f"no request can be served: {self._dead or 'the engine is shutting down'}")
        self._check_queue(request)
        self.engine_core.add(request)
        self._wake.set()

    def _check_queue(self, request: CoreRequest) -> None:
        scheduler = self.engine_core.scheduler
        num_waiting = scheduler.num_waiting_sequences
        if not num_waiting:
            return
        if num_waiting + len(request.samplings) > self._max_waiting:
            raise QueueFullError(f"{num_waiting} choices wait already, of {self._max_waiting}; try again later, or raise --max-waiting")
        if self._max_waiting_tokens is None:
            return
        waiting, most = scheduler.num_waiting_tokens, self._max_waiting_tokens
        if waiting and waiting + len(request.prompt_token_ids) > most:
            raise QueueFullError(f"prompts of {waiting} tokens wait already, of {most}; try again later, or raise --max-waiting-tokens")

    def finish(self, request_id: str, choice: int | None = None) -> None:
        """See `Core.finish`."""
        self._compiling.discard(request_id)
        self.engine_core.scheduler.finish(request_id, choice)
        self._wake.set()

    async def close(self) -> None:
        """See `Core.close`."""
        self._closing = True
        self._wake.set()
        if self._dead is not None:  # also one that is being built again
            self._died.set()
        ended = self._loop_task is None or await self._loop_ended()
        if self._loop_task is not None:
            self._loop_task.cancel()
        self.engine_core.scheduler.finish_all()
        if ended and not self._lost:
            self.engine_core.close()
        if not ended:
            self._dead = self._dead or "a step never ended"
            self._died.set()
            _log.error("a step has not ended %.0f s after its requests: the runner is left behind", _LAST_STEPS_S)

    async def _compiled(self, request: CoreRequest, grammar: str) -> bool:
        """Compile a request's grammar off the event loop: it may take a second. False where the request was finished meanwhile."""
        field = request.grammar_field
        if self._grammars is None:
            raise InvalidRequestError(f"{field}: structured output is not served by this engine", field)
        self._compiling.add(request.request_id)
        try:
            await asyncio.to_thread(self._grammars.check, grammar, field)
            return request.request_id in self._compiling
        finally:
            self._compiling.discard(request.request_id)

    async def _serve(self, take: TakeOutputs) -> None:
        while (fault := await self._serve_until_fault(take)) is not None:
            _log.error("%s; every request ends with an error", fault.reason)
            self._dead = fault.reason
            take(self.engine_core.scheduler.finish_all(fault.reason))
            if self._closing or not await self._rebuilt(fault):
                self._lost = fault.lost
                self._died.set()
                return

    async def _serve_until_fault(self, take: TakeOutputs) -> Fault | None:
        steps = asyncio.create_task(self._steps(take), name="octavo-steps")
        watch = asyncio.create_task(self._watch(), name="octavo-watchdog")
        try:
            await asyncio.wait({steps, watch}, return_when=asyncio.FIRST_COMPLETED)
            return steps.result() if steps.done() else watch.result()
        finally:
            steps.cancel()
            watch.cancel()

    async def _steps(self, take: TakeOutputs) -> Fault | None:
        try:
            while self.engine_core.has_work or not self._closing:
                if self.engine_core.has_work:
                    take(await self.engine_core.step())
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except Exception as error:
            _log.exception("a step failed")
            return Fault(f"the runner broke: {type(error).__name__}: {error}", lost=isinstance(error, DeviceLostError))
        return None

    async def _watch(self) -> Fault:
        while True:
            await asyncio.sleep(self.engine_core.watch_s)
            fault = self.engine_core.find_fault()
            if fault is not None:
                return fault

    async def _rebuilt(self, fault: Fault) -> bool:
        """Build a new runner from the same model. False where that is not safe, or was done too often lately, or fails."""
        if self._rebuild is None or fault.lost or not self._rebuilds.permit():
            return False
        self._dead = f"{fault.reason}; the engine is being built again"
        try:
            await asyncio.to_thread(self.engine_core.drop_runner)
            self.engine_core.replace(*await asyncio.to_thread(self._rebuild))
        except Exception:
            _log.exception("the engine could not be built again")
            self._dead = fault.reason
            return False
        _log.warning("the engine was built again after a fault: %s", fault.reason)
        self._dead = None
        return True

    async def _loop_ended(self) -> bool:
        assert self._loop_task is not None
        done, _ = await asyncio.wait({self._loop_task}, timeout=_LAST_STEPS_S)
        return bool(done)
