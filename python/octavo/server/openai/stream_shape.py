"""What the answers of completions and chat have in common: the envelope, usage, `[DONE]`. What differs are their choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from octavo.server.edge.reply import Event
from octavo.types import Delta

if TYPE_CHECKING:
    from octavo.server.edge.errors import ApiError
    from octavo.server.edge.generation import Usage
    from octavo.server.openai.protocol import GenerationBody

__all__ = ["Choices", "StreamShape"]

Document = dict[str, Any]


class Choices(Protocol):
    """Forms documents without their envelope (id, object, created, model)."""

    object_name: str
    chunk_object_name: str

    def chunks(self, prompt_index: int, delta: Delta) -> list[Document]:
        """Return the stream documents that `delta` leads to, in order; none when it says nothing yet."""
        ...

    def whole(self, finished: Sequence[tuple[int, Delta]]) -> Document:
        """Return the one document of a request that is not streamed, from (prompt index, everything about one choice), in order."""
        ...


class StreamShape:
    """A `Shape` of OpenAI's: events without names, usage in the last one where it was asked for, `[DONE]` behind it.

    Args:
        envelope: `id`, `created` and `model` of each document.
    """

    last_word: bytes | None = b"[DONE]"

    def __init__(self, body: GenerationBody, choices: Choices, usage: Usage, envelope: Document) -> None:
        self._body = body
        self._choices = choices
        self._usage = usage
        self._envelope = envelope
        self._include_usage, self._continuous = body.include_usage, body.continuous_usage
        names = {"id": envelope["id"], "object": choices.chunk_object_name} | envelope
        self._head = orjson.dumps(names)[:-1] + b","  # {"id":...,"model":...,

    def opening(self) -> Sequence[Event]:
        """See `Shape`."""
        return ()

    def events(self, prompt_index: int, delta: Delta) -> Sequence[Event]:
        """See `Shape`. A chunk with nothing but a role counts no token yet."""
        before = self._usage.body() if self._continuous else None
        self._usage.count(prompt_index, delta)
        documents = self._choices.chunks(prompt_index, delta)
        if self._include_usage:
            for document in documents:
                document["usage"] = before if not self._continuous or _opens(document) else self._usage.body()
        return [self._event(document) for document in documents]

    def closing(self) -> Sequence[Event]:
        """See `Shape`."""
        return [self._event({"choices": [], "usage": self._usage.body()})] if self._include_usage else ()

    def failed(self, error: ApiError) -> Sequence[Event]:
        """See `Shape`."""
        return [Event(error.json())]

    def whole(self, finished: Sequence[tuple[int, Delta]]) -> bytes:
        """See `Shape`."""
        for prompt_index, delta in finished:
            self._usage.count(prompt_index, delta)
        head = self._envelope | {"object": self._choices.object_name, "system_fingerprint": None}
        return orjson.dumps(head | self._choices.whole(finished) | {"usage": self._usage.body()})

    def _event(self, document: Document) -> Event:
        return Event(self._head + orjson.dumps(document)[1:])


def _opens(document: Document) -> bool:
    """Whether a chunk has the role and no token yet."""
    return any("role" in choice.get("delta", ()) for choice in document["choices"])
