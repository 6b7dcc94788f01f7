"""A core in another process, as the front of an engine sees it."""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import Any

from octavo.engine.port import CoreLimits, TakeOutputs
from octavo.engine.stats import CoreStats
from octavo.engine.wire import CoreState, Wire
from octavo.errors import EngineDeadError, OctavoError
from octavo.scheduler import CoreRequest, SequenceOutput
from octavo.types import FinishReason, KvBlocks

__all__ = ["RemoteCore"]

_GONE = "the process of the engine has ended"


class RemoteCore:
    """Implements `Core` over a wire to a `CoreHub`. What it says of the core is up to a quarter of a second old.

    Args:
        end: this process's socket of the pair.
        state: of the core, when this process was started.
    """

    def __init__(self, end: socket.socket, state: CoreState) -> None:
        self._end = end
        self._state = state
        self._wire: Wire | None = None
        self._take: TakeOutputs | None = None
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._open: dict[str, set[int]] = {}  # request -> choices that have not ended
        self._died = asyncio.Event()
        self._closed = False

    @property
    def limits(self) -> CoreLimits:
        """See `Core.limits`."""
        return self._state.limits

    @property
    def dead(self) -> str | None:
        """See `Core.dead`."""
        return _GONE if self._died.is_set() else self._state.dead

    @property
    def died(self) -> bool:
        """See `Core.died`."""
        return self._died.is_set() or self._state.died

    def stats(self) -> CoreStats:
        """See `Core.stats`: of the whole core, all fronts together."""
        return self._state.stats

    async def start(self, take: TakeOutputs) -> None:
        """See `Core.start`."""
        self._take = take
        self._wire = await Wire.open(self._end, self._receive, self._lost)
        self._wire.send(("hello",))

    async def add(self, request: CoreRequest) -> None:
        """See `Core.add`."""
        self._open[request.request_id] = set(range(request.num_choices))
        try:
            await self._ask("add", request)
        except OctavoError:
            self._open.pop(request.request_id, None)
            raise
        except BaseException:  # whoever asked has left
            self.finish(request.request_id)
            raise

    def finish(self, request_id: str, choice: int | None = None) -> None:
        """See `Core.finish`. Nothing is sent of what the core has ended itself."""
        choices = self._open.get(request_id)
        if choices is None or (choice is not None and choice not in choices):
            return
        if choice is None:
            choices.clear()
        else:
            choices.discard(choice)
        if not choices:
            del self._open[request_id]
        if self._wire is not None:
            self._wire.send(("finish", request_id, choice))

    async def kv_blocks(self) -> list[KvBlocks]:
        """See `Core.kv_blocks`."""
        blocks: list[KvBlocks] = await self._ask("kv_blocks")
        return blocks

    async def wait_dead(self) -> str:
        """See `Core.wait_dead`."""
        await self._died.wait()
        return self.dead or ""

    async def close(self) -> None:
        """See `Core.close`. The core itself goes on, for other fronts."""
        self._closed = True
        if self._wire is not None:
            self._wire.close()

    async def _ask(self, *message: object) -> Any:
        if self._wire is None or self.dead is not None or self._closed:
            raise EngineDeadError(f"no request can be served: {self.dead or 'the engine is shutting down'}")
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._wire.send((message[0], number, *message[1:]))
        try:
            return await answer
        finally:
            del self._answers[number]

    def _receive(self, message: Any) -> None:
        match message:
            case ("outputs", outputs):
                self._hand_out(outputs)
            case ("state", state):
                self._state = state
                if state.died:
                    self._died.set()
            case ("answer", number, value) if number in self._answers:
                self._answers[number].set_result(value)
            case ("failure", number, error) if number in self._answers:
                self._answers[number].set_exception(error)

    def _hand_out(self, outputs: list[SequenceOutput]) -> None:
        for output in outputs:
            if output.finish_reason is not None and output.request_id in self._open:
                choices = self._open[output.request_id]
                choices.discard(output.choice)
                if not choices:
                    del self._open[output.request_id]
        if self._take is not None:
            self._take(outputs)

    def _lost(self) -> None:
        """The core's process is gone: every choice ends with an error."""
        ended = [
            SequenceOutput(request_id, choice, [], finish_reason=FinishReason.ERROR, error=_GONE)
            for request_id, choices in self._open.items()
            for choice in choices
        ]
        self._open.clear()
        if not self._closed:
            self._died.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(EngineDeadError(f"no request can be served: {_GONE}"))
        if self._take is not None and ended:
            self._take(ended)
