"""A server over the fake engine, on a real socket, with a client session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from fakes.scripted_engine import ScriptedEngine
from octavo.server.edge.context import ServerContext


@dataclass
class Server:
    """A running server and a client session with it as base."""

    engine: ScriptedEngine
    url: str
    context: ServerContext
    http: aiohttp.ClientSession
    stop: Callable[[], Awaitable[None]]

    async def post(self, path: str, body: object) -> tuple[int, dict]:
        async with self.http.post(path, json=body) as response:
            return response.status, await response.json()

    async def error(self, path: str, body: object, status: int = 400) -> dict:
        """Return the error object, having checked its shape and status."""
        got, document = await self.post(path, body)
        assert got == status, document
        assert set(document) == {"error"}
        assert set(document["error"]) == {"message", "type", "param", "code"}
        return document["error"]

    async def events(self, path: str, body: dict) -> list[str]:
        """Return the payloads of an event stream, `[DONE]` included."""
        async with self.http.post(path, json={**body, "stream": True}) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "text/event-stream"
            raw = (await response.read()).decode()
        assert raw.endswith("\n\n")
        return [event.removeprefix("data: ") for event in raw[:-2].split("\n\n")]


StartServer = Callable[..., Awaitable[Server]]
