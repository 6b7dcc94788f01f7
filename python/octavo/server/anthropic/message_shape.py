"""Anthropic's message: whole, or as the events of its stream.

message_start, then for each block content_block_start, content_block_delta ..., content_block_stop, then message_delta, message_stop
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from octavo.parsers import CallArguments, CallStart, Event, Parser, Reasoning, Text
from octavo.server.edge.errors import ApiError, anthropic_error
from octavo.server.edge.reply import Event as StreamEvent
from octavo.types import Delta, FinishReason

__all__ = ["MessageShape"]

Document = dict[str, Any]
NamedEvent = tuple[str, Document]


class MessageShape:
    """A `Shape`: the documents of one message. A stream begins with the first token, when it is known how much the cache has served.

    Args:
        parser: of the model's text; None: it is plain text.
        num_prompt_tokens: length of the prompt.
    """

    last_word: bytes | None = None

    def __init__(self, message_id: str, model: str, num_prompt_tokens: int, parser: Parser | None) -> None:
        self._id = message_id
        self._model = model
        self._num_prompt_tokens = num_prompt_tokens
        self._parser = parser
        self._num_output_tokens = 0
        self._num_cached = 0
        self._started = False
        self._kind: type[Event] | None = None  # of the open block
        self._index = -1
        self._called = False

    def opening(self) -> Sequence[StreamEvent]:
        """See `Shape`."""
        return ()

    def events(self, prompt_index: int, delta: Delta) -> Sequence[StreamEvent]:
        """See `Shape`."""
        return [_written(name, document) for name, document in self._events(delta)]

    def closing(self) -> Sequence[StreamEvent]:
        """See `Shape`."""
        return ()

    def failed(self, error: ApiError) -> Sequence[StreamEvent]:
        """See `Shape`."""
        return [_written("error", anthropic_error(error))]

    def _events(self, delta: Delta) -> Iterator[NamedEvent]:
        self._count(delta)
        if not self._started:
            self._started = True
            yield "message_start", {"message": self._message([], None, None)}
        for event in self._parsed(delta):
            yield from self._piece(event)
        if delta.finish_reason is not None:
            yield from self._close()
            reason, stop = self._stop(delta)
            yield "message_delta", {"delta": {"stop_reason": reason, "stop_sequence": stop}, "usage": self._usage()}
            yield "message_stop", {}

    def whole(self, finished: Sequence[tuple[int, Delta]]) -> bytes:
        """See `Shape`."""
        [(_, delta)] = finished
        self._count(delta)
        blocks: list[Document] = []
        inputs: dict[int, str] = {}
        for event in self._parsed(delta):
            if isinstance(event, CallArguments):
                inputs[len(blocks) - 1] = inputs.get(len(blocks) - 1, "") + event.text
            else:
                self._called = self._called or isinstance(event, CallStart)
                blocks.append(_block(event) | ({} if isinstance(event, CallStart) else {_field(event): event.text}))
        for index, text in inputs.items():
            blocks[index]["input"] = _parsed_input(text)
        reason, stop = self._stop(delta)
        return orjson.dumps(self._message(blocks, reason, stop))

    def _count(self, delta: Delta) -> None:
        self._num_output_tokens += len(delta.token_ids)
        self._num_cached = max(self._num_cached, delta.num_cached_tokens)

    def _parsed(self, delta: Delta) -> list[Event]:
        if self._parser is None:
            return [Text(delta.text)] if delta.text else []
        return self._parser.push(delta.text) + (self._parser.finish() if delta.finish_reason is not None else [])

    def _piece(self, event: Event) -> Iterator[NamedEvent]:
        if isinstance(event, CallArguments):
            yield "content_block_delta", {"index": self._index, "delta": {"type": "input_json_delta", "partial_json": event.text}}
            return
        if isinstance(event, CallStart) or self._kind is not type(event):
            yield from self._close()
            self._kind = type(event)
            self._index += 1
            yield "content_block_start", {"index": self._index, "content_block": _block(event)}
        if isinstance(event, CallStart):
            self._called = True
        else:
            field = _field(event)
            yield "content_block_delta", {"index": self._index, "delta": {"type": f"{field}_delta", field: event.text}}

    def _close(self) -> Iterator[NamedEvent]:
        if self._kind is not None:
            self._kind = None
            yield "content_block_stop", {"index": self._index}

    def _stop(self, delta: Delta) -> tuple[str, str | None]:
        if self._called and delta.finish_reason is FinishReason.STOP:
            return "tool_use", None
        if delta.finish_reason is FinishReason.LENGTH:
            return "max_tokens", None
        if isinstance(delta.stop_reason, str):
            return "stop_sequence", delta.stop_reason
        return "end_turn", None

    def _message(self, content: list[Document], reason: str | None, stop: str | None) -> Document:
        message = {"id": self._id, "type": "message", "role": "assistant", "model": self._model, "content": content}
        return message | {"stop_reason": reason, "stop_sequence": stop, "usage": self._usage()}

    def _usage(self) -> Document:
        """Anthropic counts cached tokens apart from `input_tokens`."""
        return {
            "input_tokens": self._num_prompt_tokens - self._num_cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self._num_cached,
            "output_tokens": self._num_output_tokens,
        }


def _written(name: str, document: Document) -> StreamEvent:
    return StreamEvent(orjson.dumps({"type": name} | document), name)


def _field(event: Text | Reasoning) -> str:
    return "thinking" if isinstance(event, Reasoning) else "text"


def _block(event: Event) -> Document:
    """A block before anything is in it."""
    if isinstance(event, CallStart):
        return {"type": "tool_use", "id": event.call_id, "name": event.name, "input": {}}
    if isinstance(event, Reasoning):
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _parsed_input(text: str) -> Any:
    """A call's arguments as an object; what is no JSON, because it was cut off, under a name of its own."""
    try:
        return json.loads(text)
    except ValueError:
        return {"_incomplete_json": text}
