"""What the handlers share, passed in through the application, never through module globals."""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from octavo.server.edge.clients import Clients
from octavo.server.edge.connection import HalfClosed
from octavo.server.edge.media_files import MediaFiles
from octavo.server.edge.workers import Workers
from octavo.server.speech import Speech

if TYPE_CHECKING:
    from octavo.config import ServerConfig
    from octavo.engine.port import Engine
    from octavo.server.edge.errors import ApiError

__all__ = ["CONTEXT", "ServerContext"]


@dataclass(slots=True)
class ServerContext:
    """One per application.

    Attributes:
        engine: where requests go; started and closed by whoever built it.
        config: settings of the edge.
        stall_s: seconds that a client may leave its full receive buffer unread before its requests are aborted.
        draining: set by the shutdown; new generation requests are answered 503 from then on.
        sockets: open WebSockets, to be closed by the shutdown.
        workers: threads for work on large inputs.
        clients: whoever has a key.
        refused: code -> requests that were answered 429 or 503.
        speech: how the model's text is read.
        media_files: what reads files that requests name.
        half_closed: connections whose clients have said that they will send no more.
    """

    engine: Engine
    config: ServerConfig
    stall_s: float
    clients: Clients
    refused: Counter[str] = field(default_factory=Counter)
    draining: bool = False
    sockets: weakref.WeakSet[web.WebSocketResponse] = field(default_factory=weakref.WeakSet)
    workers: Workers = field(default_factory=Workers)
    half_closed: HalfClosed = field(default_factory=HalfClosed)
    speech: Speech = field(init=False)
    media_files: MediaFiles = field(init=False)
    _max_token_bytes: int | None = None

    def __post_init__(self) -> None:
        template = self.engine.tokenizer.chat_template
        self.media_files = MediaFiles(self.config)
        self.speech = Speech(template.source if template is not None else "", self.config.tool_parser)

    def count(self, error: ApiError) -> ApiError:
        """Count an answer that asks its client to come again; return it."""
        if error.status in (429, 503):
            self.refused[error.code or "unavailable"] += 1
        return error

    def unavailable(self) -> str | None:
        """Return why no new request can be served, or None."""
        return "the server is shutting down" if self.draining else self.engine.dead

    async def max_token_bytes(self) -> int:
        """Return the length of the vocabulary's longest token; the first call looks at all of them, in a thread."""
        if self._max_token_bytes is None:
            tokenizer = self.engine.tokenizer
            self._max_token_bytes = await self.workers.run(
                tokenizer.vocab_size, lambda: max(len(tokenizer.token_bytes(token_id)) for token_id in range(tokenizer.vocab_size))
            )
        return self._max_token_bytes


CONTEXT: web.AppKey[ServerContext] = web.AppKey("context", ServerContext)
