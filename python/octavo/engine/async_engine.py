"""The engine as its callers see it: `submit` returns a stream; one task on the event loop does the rest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from octavo.engine.admission import admit, check_constraints
from octavo.engine.choice import Choice, ChoiceRules
from octavo.engine.engine_core import EngineCore
from octavo.engine.live_request import LiveRequest
from octavo.engine.model_info import ModelInfo
from octavo.engine.request_stream import RequestStream
from octavo.engine.row_sampling import row_samplings
from octavo.engine.stats import EngineObserver, EngineStats
from octavo.engine.stats_log import log_stats
from octavo.engine.watchdog import Fault, Rebuilds
from octavo.errors import EngineDeadError, InvalidRequestError, QueueFullError
from octavo.log import get_logger
from octavo.scheduler import NewRequest, Scheduler
from octavo.step import DeviceLostError, Runner
from octavo.types import FinishReason, GenerationRequest, KvBlocks

if TYPE_CHECKING:
    from octavo.structured import GrammarCompiler
    from octavo.text.tokenizer import Tokenizer

__all__ = ["AsyncEngine", "RequestStream"]

_log = get_logger(__name__)

_LAST_STEPS_S = 5.0  # time that the steps in flight get to end after the last request is aborted


class AsyncEngine:
    """Serves requests until it is closed or its runner breaks. All calls on one event loop.

    Args:
        max_waiting: most choices that wait; `submit` refuses a request whose choices would be more, unless none waits.
        seed: requests without a seed draw theirs from this, in order of submission; 0: from the operating system.
        log_stats_s: seconds between lines of throughput in the log; 0: none.
        grammars: compiles those of structured output; None: none is served.
        rebuild: makes a scheduler and a runner like those of `core`, after a fault that leaves the process whole; may block.

    Attributes:
        tokenizer: that of the model.
        info: facts of the model.
    """

    def __init__(
        self,
        core: EngineCore,
        tokenizer: Tokenizer,
        info: ModelInfo,
        *,
        max_waiting: int = 4096,
        seed: int = 0,
        log_stats_s: float = 0.0,
        rebuild: Callable[[], tuple[Scheduler, Runner]] | None = None,
        grammars: GrammarCompiler | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.info = info
        self._core = core
        self._max_waiting = max_waiting
        self._log_stats_s = log_stats_s
        self._seeds = random.Random(seed or None)
        self._eos_token_ids = frozenset(tokenizer.eos_token_ids)
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._log_task: asyncio.Task[None] | None = None
        self._close_task: asyncio.Task[None] | None = None
        self._closing = False
        self._rebuild = rebuild
        self._grammars = grammars
        self._rebuilds = Rebuilds()
        self._dead: str | None = None
        self._lost = False
        self._died = asyncio.Event()

    def check_grammar(self, grammar: str, field: str) -> None:
        """Compile a request's grammar before it is submitted, in whatever thread: it may take a second.

        Raises:
            InvalidRequestError: it cannot be used; names the field.
        """
        if self._grammars is None:
            raise InvalidRequestError(f"{field}: structured output is not served by this engine", field)
        self._grammars.check(grammar, field)

    @property
    def dead(self) -> str | None:
        """Why the engine cannot serve, or None where it can."""
        return "the engine is shutting down" if self._closing and self._dead is None else self._dead

    async def wait_dead(self) -> str:
        """Wait until nothing can be served any more, for good, and return why. An engine that is closed in health never returns."""
        await self._died.wait()
        return self._dead or ""

    @property
    def died(self) -> bool:
        """Whether a fault ended the engine: the process should end too, and say so by its exit code."""
        return self._died.is_set()

    @property
    def max_in_flight(self) -> int:
        """Choices that keep the engine busy and are never too many: twice what runs at once, as far as the queue takes them."""
        return min(2 * self._core.scheduler.max_running, self._max_waiting)

    def stats(self) -> EngineStats:
        """A snapshot of load and counters."""
        return replace(self._core.stats(), rebuilds=self._rebuilds.count)

    def kv_blocks(self) -> list[KvBlocks]:
        """The state of every KV block of each cache group, for whoever draws them. O(number of blocks)."""
        return self._core.kv_blocks()

    def add_observer(self, observer: EngineObserver) -> None:
        """Tell `observer` of everything that happens to requests from now on."""
        self._core.add_observer(observer)

    async def start(self) -> None:
        """Start serving; requests submitted before have waited."""
        if self._loop_task is not None:
            return
        self._loop_task = asyncio.create_task(self._serve(), name="octavo-engine")
        if self._log_stats_s > 0:
            self._log_task = asyncio.create_task(log_stats(self.stats, self._log_stats_s), name="octavo-stats")

    async def close(self, drain_s: float = 0.0) -> None:
        """Refuse what is new, give what runs `drain_s` seconds to finish, abort the rest, close the runner.

        Every caller returns when that is done; the first one's `drain_s` counts. A caller that is cancelled does not stop it.
        """
        self._closing = True
        if self._close_task is None:
            self._close_task = asyncio.create_task(self._close(drain_s), name="octavo-close")
        await asyncio.shield(self._close_task)

    def submit(self, request: GenerationRequest) -> RequestStream:
        """Queue a request and return the stream of its deltas.

        Raises:
            InvalidRequestError: it can never be served; names the field.
            QueueFullError: too many requests wait.
            EngineDeadError: the runner broke, or the engine is closing.
        """
        if self.dead is not None:
            raise EngineDeadError(f"no request can be served: {self.dead}")
        if request.request_id in self._core:
            raise InvalidRequestError(
                f"request_id {request.request_id!r} belongs to a request that still runs; choose another", "request_id"
            )
        max_tokens = admit(request, self.info, self._core.scheduler.max_sequence_length)
        if request.params.grammar is not None:
            self.check_grammar(request.params.grammar, "grammar")  # at once, where its caller has done so before
        num_waiting = self._core.num_waiting_choices
        if num_waiting and num_waiting + request.params.n > self._max_waiting:
            raise QueueFullError(f"{num_waiting} choices wait already, of {self._max_waiting}; try again later, or raise --max-waiting")
        live = self._live_request(request, max_tokens)
        self._core.add(live)
        self._wake.set()
        return live.stream

    def _live_request(self, request: GenerationRequest, max_tokens: int) -> LiveRequest:
        params = request.params
        samplings = row_samplings(params, self.tokenizer, self.info.vocab_size, self._seeds.getrandbits(64))
        check_constraints(samplings[0], self.info.vocab_size)
        rules = ChoiceRules.of(params, max_tokens, self._eos_token_ids)

        def new_choice(index: int) -> Choice:
            return Choice(index, rules, self.tokenizer.detokenizer(params.skip_special_tokens))

        new = NewRequest(request.request_id, request.prompt_token_ids, samplings, max_tokens, request.priority, request.cache_salt.encode())
        group = self._core.scheduler.add(new)
        stream = RequestStream(request, on_abort=lambda: self._abort(request.request_id))
        return LiveRequest(request, group, new_choice, stream, self._core.clock())

    def _abort(self, request_id: str) -> None:
        self._core.end(request_id, FinishReason.ABORT)
        self._wake.set()

    async def _close(self, drain_s: float) -> None:
        self._wake.set()
        if self._dead is not None:  # also one that is being built again
            self._died.set()
        ended = self._loop_task is None or await self._loop_ended(drain_s)
        if not ended:
            self._core.end_all(FinishReason.ABORT)
            ended = await self._loop_ended(_LAST_STEPS_S)
        for task in (self._loop_task, self._log_task):
            if task is not None:
                task.cancel()
        self._core.end_all(FinishReason.ABORT)
        if ended and not self._lost:
            self._core.close()
            return
        if not ended:
            self._dead = self._dead or "a step never ended"
            self._died.set()
            _log.error("a step has not ended %.0f s after its requests: the runner is left behind", _LAST_STEPS_S)

    async def _serve(self) -> None:
        """Serve until the engine is closed; after a fault go on with a new runner, where one can be built."""
        while (fault := await self._serve_until_fault()) is not None:
            self._dead = fault.reason
            _log.error("%s; every request ends with an error", fault.reason)
            self._core.end_all(FinishReason.ERROR, fault.reason)
            if self._closing or not await self._rebuilt(fault):
                self._lost = fault.lost
                self._died.set()
                return

    async def _serve_until_fault(self) -> Fault | None:
        steps = asyncio.create_task(self._steps(), name="octavo-steps")
        watch = asyncio.create_task(self._watch(), name="octavo-watchdog")
        try:
            await asyncio.wait({steps, watch}, return_when=asyncio.FIRST_COMPLETED)
            return steps.result() if steps.done() else watch.result()
        finally:
            steps.cancel()
            watch.cancel()

    async def _steps(self) -> Fault | None:
        try:
            while self._core.has_work or not self._closing:
                if self._core.has_work:
                    await self._core.step()
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except Exception as error:
            _log.exception("a step failed")
            return Fault(f"the runner broke: {type(error).__name__}: {error}", lost=isinstance(error, DeviceLostError))
        return None

    async def _watch(self) -> Fault:
        while True:
            await asyncio.sleep(self._core.watch_s)
            fault = self._core.find_fault()
            if fault is not None:
                return fault

    async def _rebuilt(self, fault: Fault) -> bool:
        """Build a new runner from the same model. False where that is not safe, or was done too often lately, or fails."""
        if self._rebuild is None or fault.lost or not self._rebuilds.permit():
            return False
        self._dead = f"{fault.reason}; the engine is being built again"
        try:
            await asyncio.to_thread(self._core.drop_runner)
            self._core.replace(*await asyncio.to_thread(self._rebuild))
        except Exception:
            _log.exception("the engine could not be built again")
            self._dead = fault.reason
            return False
        _log.warning("the engine was built again after a fault: %s", fault.reason)
        self._dead = None
        return True

    async def _loop_ended(self, timeout_s: float) -> bool:
        assert self._loop_task is not None
        done, _ = await asyncio.wait({self._loop_task}, timeout=timeout_s)
        return bool(done)
