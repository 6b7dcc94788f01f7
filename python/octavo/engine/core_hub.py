"""One core for many fronts in processes of their own: each has a wire, its requests a prefix, and its end ends its requests only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from octavo.engine.port import Core
from octavo.engine.wire import CoreState, Wire
from octavo.errors import OctavoError
from octavo.log import get_logger
from octavo.scheduler import CoreRequest, SequenceOutput

__all__ = ["CoreHub"]

_log = get_logger(__name__)
_STATE_S = 0.25


class CoreHub:
    """Serves a core to fronts. All calls on one event loop.

    A front names its requests "<its name>:<number>"; a name is never used twice, so what comes late belongs to nobody.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._fronts: dict[str, _Front] = {}
        self._told: CoreState | None = None
        self._telling: asyncio.Task[None] | None = None

    @property
    def state(self) -> CoreState:
        """What the core says of itself now."""
        core = self._core
        return CoreState(core.limits, core.dead, core.died, core.stats())

    async def start(self) -> None:
        """Start the core."""
        await self._core.start(self._take)
        self._telling = asyncio.create_task(self._tell(), name="octavo-hub")

    async def connect(self, name: str, end: socket.socket) -> asyncio.Event:
        """Serve a front on `end`, this process's socket of a pair. Returns an event that is set when the front is there."""
        front = _Front(name, self._core, self._forget)
        self._fronts[name] = front
        front.wire = await Wire.open(end, front.receive, front.lost)
        return front.greeted

    async def close(self) -> None:
        """Close the core; fronts that are still there find it gone."""
        if self._telling is not None:
            self._telling.cancel()
        await self._core.close()
        for front in list(self._fronts.values()):
            front.close()

    def _forget(self, name: str) -> None:
        self._fronts.pop(name, None)

    def _take(self, outputs: Sequence[SequenceOutput]) -> None:
        of_front: dict[str, list[SequenceOutput]] = {}
        for output in outputs:
            of_front.setdefault(output.request_id.partition(":")[0], []).append(output)
        for name, own in of_front.items():
            if name in self._fronts:
                self._fronts[name].hand_out(own)

    async def _tell(self) -> None:
        """Tell every front how the core is, when that has changed."""
        while True:
            state = self.state
            if state != self._told:
                self._told = state
                for front in self._fronts.values():
                    front.send(("state", state))
            await asyncio.sleep(_STATE_S)


class _Front:
    """The core's end of one front's wire."""

    def __init__(self, name: str, core: Core, forget: Callable[[str], None]) -> None:
        self.wire: Wire | None = None
        self.greeted = asyncio.Event()
        self._name = name
        self._core = core
        self._forget = forget
        self._open: dict[str, int] = {}  # request -> choices that have not ended
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, message: object) -> None:
        """Send a message, where the front is there."""
        if self.wire is not None:
            self.wire.send(message)

    def close(self) -> None:
        """Close the wire."""
        if self.wire is not None:
            self.wire.close()

    def hand_out(self, outputs: list[SequenceOutput]) -> None:
        """Send outputs of this front's requests."""
        for output in outputs:
            if output.finish_reason is not None and output.request_id in self._open:
                self._open[output.request_id] -= 1
                if not self._open[output.request_id]:
                    del self._open[output.request_id]
        self.send(("outputs", outputs))

    def receive(self, message: Any) -> None:
        """Take a message of the front."""
        match message:
            case ("hello",):
                self.greeted.set()
            case ("add", number, request):
                self._open[request.request_id] = request.num_choices
                self._spawn(self._add(number, request))
            case ("finish", request_id, choice):
                if choice is None:
                    self._open.pop(request_id, None)
                asyncio.get_running_loop().call_soon(self._core.finish, request_id, choice)  # behind an `add` that has not begun
            case ("kv_blocks", number):
                self._spawn(self._kv_blocks(number))

    def lost(self) -> None:
        """The front is gone, and with it whoever would read its requests."""
        self._forget(self._name)
        for task in self._tasks:
            task.cancel()
        for request_id in list(self._open):
            self._core.finish(request_id)
        if self._open:
            _log.warning("%d requests of front-end %s ended with it", len(self._open), self._name)
        self._open.clear()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _add(self, number: int, request: CoreRequest) -> None:
        try:
            await self._core.add(request)
        except OctavoError as error:
            self._open.pop(request.request_id, None)
            self.send(("failure", number, error))
        else:
            self.send(("answer", number, None))

    async def _kv_blocks(self, number: int) -> None:
        self.send(("answer", number, await self._core.kv_blocks()))
