"""Front-ends in processes of their own before one engine: started, watched, started again when one dies, told to end.

Each has a socket to listen on, which this process keeps open: who connects while a front-end is being replaced waits. Its end of the wire
to the engine is a socket of a pair that only the two have. A front-end that dies takes its own streams along, no others.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from octavo.errors import OctavoError
from octavo.log import get_logger

if TYPE_CHECKING:
    from octavo.config import EngineConfig, ServerConfig
    from octavo.engine.core_hub import CoreHub
    from octavo.engine.model_info import ModelInfo
    from octavo.engine.wire import CoreState

__all__ = ["FrontEndJob", "FrontEnds"]

_log = get_logger(__name__)
_PROGRAM = "octavo.cli.front_end"
_STEADY_S = 10.0  # who lived so long is replaced at once
_MAX_PAUSE_S = 5.0
_START_S = 120.0
_MAX_FAILURES = 3
_POLL_S = 0.02
_FLUSH_S = 10.0  # to end in, beyond what running requests get


@dataclass(frozen=True, slots=True)
class FrontEndJob:
    """What a front-end's process is told, on its standard input.

    Attributes:
        name: of the front; a process started again has another.
        wire, sockets: descriptors: to the engine, to listen on.
    """

    engine_config: EngineConfig
    server_config: ServerConfig
    info: ModelInfo
    reads_images: bool
    name: str
    state: CoreState
    wire: int
    sockets: tuple[int, ...]


class FrontEnds:
    """The front-ends of one engine.

    Args:
        job: what all are told; name, state and descriptors are filled in here.
        sockets: one for each, or fewer, which all of them share.
    """

    def __init__(self, hub: CoreHub, job: FrontEndJob, sockets: Sequence[socket.socket]) -> None:
        num = job.server_config.frontends
        self._hub = hub
        self._job = job
        self._sockets = [[each] for each in sockets] if len(sockets) == num else [list(sockets)] * num
        self._names = itertools.count()
        self._processes: dict[int, asyncio.subprocess.Process] = {}  # by slot
        self._greeted: dict[int, asyncio.Event] = {}
        self._num_failures = 0  # processes that ended before they were there
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Return when all are there. Raises OctavoError where they do not come."""
        slots = range(len(self._sockets))
        for slot in slots:
            await self._start(slot)
        self._keepers = [asyncio.create_task(self._keep(slot), name=f"octavo-front-end-{slot}") for slot in slots]
        deadline = time.monotonic() + _START_S
        while not all(self._greeted[slot].is_set() for slot in slots):
            if self._num_failures >= _MAX_FAILURES or time.monotonic() > deadline:
                raise OctavoError("the front-ends do not start; what they said is above")
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Let each finish what it serves, for as long as the configuration says, and end."""
        self._stopping = True
        self.signal(signal.SIGTERM)
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=self._job.server_config.shutdown_s + _FLUSH_S)
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each that runs."""
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)

    async def _start(self, slot: int) -> None:
        ours, theirs = socket.socketpair()
        sockets = self._sockets[slot]
        descriptors = tuple(each.fileno() for each in sockets)
        name = f"f{next(self._names)}"
        job = replace(self._job, name=name, state=self._hub.state, wire=theirs.fileno(), sockets=descriptors)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _PROGRAM,
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(), *descriptors),
                start_new_session=True,  # Ctrl-C reaches this process only, which tells the others
            )
        self._processes[slot] = process
        self._greeted[slot] = await self._hub.connect(name, ours)
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(job))
        process.stdin.close()

    async def _keep(self, slot: int) -> None:
        pause_s = 0.0
        while True:
            started = time.monotonic()
            code = await self._processes[slot].wait()
            if self._stopping:
                return
            self._num_failures += not self._greeted[slot].is_set()
            steady = time.monotonic() - started > _STEADY_S
            pause_s = 0.0 if steady else min(2 * pause_s + 0.1, _MAX_PAUSE_S)
            _log.error("front-end %d ended with %d, and its streams with it; another one is started", slot, code)
            await asyncio.sleep(pause_s)
            if self._stopping:
                return
            await self._start(slot)
