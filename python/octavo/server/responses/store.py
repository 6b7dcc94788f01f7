"""The responses of one application: those that run, and those that are kept for later, bounded in number and bytes.

What is kept is the conversation and the document, so that a next response can go on from it, and for ten minutes the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError
from octavo.server.responses.live_response import LiveResponse

if TYPE_CHECKING:
    from octavo.server.responses.protocol import Item

__all__ = ["RESPONSES", "ResponseStore", "keep_responses_in"]

_MAX_RESPONSES = 4096
_MAX_BYTES = 256 * 1024 * 1024
_SWEEP_S = 60.0
_SHOWN = 80  # characters of an id that a message repeats


class ResponseStore:
    """Found by id, oldest dropped first. A response that runs is never dropped.

    Args:
        resume_s: seconds for which a response of `store: false` can still be resumed after its end.
        max_bytes: of all conversations, documents and streams, as JSON.
    """

    def __init__(self, resume_s: float, max_responses: int = _MAX_RESPONSES, max_bytes: int = _MAX_BYTES) -> None:
        self._resume_s = resume_s
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._responses: dict[str, LiveResponse] = {}
        self._sizes: dict[str, int] = {}  # of those that are over, streams left out
        self._owners: dict[str, str] = {}  # of items: the response that has it
        self._watches: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._responses)

    def add(self, response: LiveResponse) -> None:
        """Keep `response`, which has begun."""
        self._responses[response.id] = response
        watch = asyncio.create_task(self._settle(response))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        if self._sweeper is None:
            self._sweep()

    def get(self, response_id: str) -> LiveResponse:
        """Return the response; `ApiError` 404 where there is none."""
        found = self._responses.get(response_id)
        if found is None:
            message = f"no response {response_id[:_SHOWN]!r} is kept here; it may have been deleted, dropped for newer ones, or not stored"
            raise ApiError(404, message, param="response_id", code="response_not_found")
        return found

    def previous(self, response_id: str) -> LiveResponse | None:
        """Return a response that a next one may go on from."""
        found = self._responses.get(response_id)
        return found if found is not None and found.body.store else None

    def item(self, item_id: str) -> Item | None:
        """Return a stored item."""
        owner = self._responses.get(self._owners.get(item_id, ""))
        items = () if owner is None else (*owner.own_items, *owner.document["output"])
        return next((item for item in items if item["id"] == item_id), None)

    def remove(self, response_id: str) -> None:
        """Forget a response, and end it if it runs."""
        response = self._responses.pop(response_id, None)
        self._sizes.pop(response_id, None)
        if response is None:
            return
        response.end("cancelled")
        for item in (*response.own_items, *response.document["output"]):
            if self._owners.get(item["id"]) == response_id:
                del self._owners[item["id"]]

    async def close(self) -> None:
        """End all that runs."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for response in list(self._responses.values()):
            response.end("cancelled")
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def _settle(self, response: LiveResponse) -> None:
        """When `response` is over: measure it, or let it go."""
        with suppress(ApiError):  # the response's document and stream have it
            await response.wait()
        if self._responses.get(response.id) is not response:
            return
        if response.body.store:
            self._sizes[response.id] = len(orjson.dumps([response.document, response.conversation]))
            for item in (*response.own_items, *response.document["output"]):
                self._owners[item["id"]] = response.id
            self._shrink()
        else:
            asyncio.get_running_loop().call_later(self._resume_s, self.remove, response.id)

    def _shrink(self) -> None:
        total = sum(self._sizes.values()) + sum(response.log.num_bytes for response in self._responses.values())
        for response_id, size in list(self._sizes.items()):
            if len(self._responses) <= self._max_responses and total <= self._max_bytes:
                return
            total -= size + self._responses[response_id].log.num_bytes
            self.remove(response_id)

    def _sweep(self) -> None:
        """Let streams age that nobody reads; stop when nothing is left."""
        for response in self._responses.values():
            response.log.trim()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep) if self._responses else None


RESPONSES: web.AppKey[ResponseStore] = web.AppKey("responses", ResponseStore)


def keep_responses_in(app: web.Application) -> None:
    """Give `app` its store of responses."""
    app[RESPONSES] = ResponseStore(app[CONTEXT].config.resume_s)

    async def store(app: web.Application) -> AsyncIterator[None]:
        yield
        await app[RESPONSES].close()

    app.cleanup_ctx.append(store)
