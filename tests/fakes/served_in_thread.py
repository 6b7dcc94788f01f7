"""The application over the fake engine, on an event loop in a thread of its own: for clients that block."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any

from fakes.scripted_engine import ScriptedEngine
from octavo.config import ServerConfig, from_flat
from octavo.server.app import build_app
from octavo.server.listen import listen
from octavo.server.serve import make_runner, start_site

__all__ = ["ServedInThread"]


class ServedInThread:
    """Serves within the block.

    Attributes:
        url: where.
    """

    def __init__(self, engine: ScriptedEngine, **settings: object) -> None:
        self.url = ""
        self._engine = engine
        self._config = from_flat(ServerConfig, {"port": 0, **settings})
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ServedInThread:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        app = build_app(self._engine, self._config)
        self._runner = make_runner(app)
        await self._runner.setup()
        listener = listen(self._config)
        await start_site(self._runner, app, listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
