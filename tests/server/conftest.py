"""Starting and stopping servers over the fake engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine
from octavo.config import ServerConfig, from_flat
from octavo.server.app import build_app
from octavo.server.edge.context import CONTEXT
from octavo.server.listen import listen
from octavo.server.serve import make_runner, start_site


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    """Start servers that the test describes; all are closed at its end."""
    runners: list[web.AppRunner] = []
    sessions: list[aiohttp.ClientSession] = []

    async def start(engine: ScriptedEngine | None = None, *, stall_s: float = 30.0, **settings: object) -> Server:
        engine = engine or ScriptedEngine()
        config = from_flat(ServerConfig, {"port": 0, **settings})
        app = build_app(engine, config, stall_s=stall_s)
        runner = make_runner(app)
        runners.append(runner)
        await runner.setup()
        listener = listen(config)
        await start_site(runner, app, listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        sessions.append(aiohttp.ClientSession(url))
        return Server(engine, url, app[CONTEXT], sessions[-1], runner.cleanup)

    yield start
    for session in sessions:
        await session.close()
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def server(start_server: StartServer) -> Server:
    return await start_server()
