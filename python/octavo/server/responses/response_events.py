"""A response as it grows: its document, and the events of its stream.

response.created, response.in_progress, then for each item response.output_item.added, the events of its content,
response.output_item.done, then response.completed, .incomplete or .failed. Each has a `sequence_number`, consecutive from 0.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from octavo.parsers import CallArguments, CallStart, Parser, Reasoning, Text
from octavo.parsers import Event as Parsed
from octavo.server.edge.errors import ApiError
from octavo.server.edge.reply import Event
from octavo.server.responses.protocol import Tool
from octavo.server.responses.tools import ClientTool
from octavo.types import Delta, FinishReason

__all__ = ["ResponseEvents"]

Document = dict[str, Any]
Named = tuple[str, Document]
_PART_KINDS = {"message": "output_text", "reasoning": "reasoning_text"}


class ResponseEvents:
    """Events from deltas. Every method returns events to be sent in that order.

    Args:
        document: the response's document, which is kept up to date in place.
        parser: of the model's text; None: it is plain text.
        num_prompt_tokens: length of the prompt.
        tools: those that the model may call, by the name that it calls them by.
        generate: False: what the engine makes is dropped, because only its cache was to be warmed.
    """

    def __init__(
        self, document: Document, parser: Parser | None, num_prompt_tokens: int, tools: Mapping[str, ClientTool], *, generate: bool = True
    ) -> None:
        self.document = document
        self._parser = parser
        self._num_prompt_tokens = num_prompt_tokens
        self._tools = tools
        self._generate = generate
        self._number = 0
        self._item: Document | None = None  # the open one
        self._num_output_tokens = 0
        self._num_reasoning_tokens = 0
        self._num_cached = 0

    @property
    def called(self) -> bool:
        """Whether the model has begun to call a tool."""
        return any(item["type"] in ("function_call", "custom_tool_call") for item in self.document["output"])

    @property
    def over(self) -> bool:
        """Whether the last event was given."""
        return self.document["status"] not in ("queued", "in_progress")

    def opening(self) -> list[Event]:
        """Return the events before the first token."""
        if self.document["status"] == "queued":
            return self._written([self._state("created"), self._state("queued")])
        return self._written([self._state("created"), self._state("in_progress")])

    def events(self, delta: Delta) -> list[Event]:
        """Return the events that `delta` leads to."""
        return self._written(self._events(delta))

    def ended(self, reason: str) -> list[Event]:
        """Return the events of a response that was ended before its time: `reason` is `cancelled` or `steered`."""
        return [] if self.over else self._written(self._cut_off(reason))

    def failed(self, error: ApiError) -> list[Event]:
        """Return the events that end a response whose generation failed."""
        if self.over:
            return []
        self.document["error"] = {"code": "server_error", "message": error.message}
        return self._written([*self._close("incomplete"), *self._finish("failed", "failed")])

    def note(self, name: str, fields: Document) -> list[Event]:
        """Return an event that is about the stream itself, such as `response.steer.accepted`."""
        return self._written([(name, fields)])

    def _events(self, delta: Delta) -> Iterator[Named]:
        if self.document["status"] == "queued":
            self.document["status"] = "in_progress"
            yield self._state("in_progress")
        if self._generate:
            yield from self._said(delta)
        self._num_cached = max(self._num_cached, delta.num_cached_tokens)
        if delta.finish_reason is FinishReason.LENGTH and self._generate:
            self.document["incomplete_details"] = {"reason": "max_output_tokens"}
            yield from self._close("incomplete")
            yield from self._finish("incomplete", "incomplete")
        elif delta.finish_reason is FinishReason.ABORT:
            yield from self._cut_off("cancelled")
        elif delta.finish_reason is not None:
            yield from self._close("completed")
            yield from self._finish("completed", "completed")

    def _said(self, delta: Delta) -> Iterator[Named]:
        self._num_output_tokens += len(delta.token_ids)
        parsed = self._parsed(delta)
        if any(isinstance(event, Reasoning) for event in parsed):
            self._num_reasoning_tokens += len(delta.token_ids)
        for event in parsed:
            yield from self._piece(event)

    def _parsed(self, delta: Delta) -> list[Parsed]:
        if self._parser is None:
            return [Text(delta.text)] if delta.text else []
        return self._parser.push(delta.text) + (self._parser.finish() if delta.finish_reason is not None else [])

    def _piece(self, event: Parsed) -> Iterator[Named]:
        if isinstance(event, CallStart):
            yield from self._close("completed")
            tool = self._tools.get(event.name) or ClientTool(Tool(type="function", name=event.name), None)
            yield from self._open(tool.item(event.call_id))
            self._arguments: list[str] = []
        elif isinstance(event, CallArguments):
            self._arguments.append(event.text)
            if self._item is not None and self._item["type"] == "function_call":
                yield "response.function_call_arguments.delta", self._place() | {"delta": event.text}
        else:
            yield from self._text_piece(event)

    def _text_piece(self, event: Text | Reasoning) -> Iterator[Named]:
        kind = "reasoning" if isinstance(event, Reasoning) else "message"
        part_kind = _PART_KINDS[kind]
        if self._item is None or self._item["type"] != kind:
            yield from self._close("completed")
            item: Document = {"type": kind, "content": []}
            more: Document = {"summary": []} if kind == "reasoning" else {"role": "assistant"}
            yield from self._open(item | more)
            yield "response.content_part.added", self._place() | {"content_index": 0, "part": _part(part_kind, "")}
            self._texts: list[str] = []
        self._texts.append(event.text)
        fields = self._place() | {"content_index": 0, "delta": event.text}
        yield f"response.{part_kind}.delta", fields | ({"logprobs": []} if kind == "message" else {})

    def _open(self, item: Document) -> Iterator[Named]:
        prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}[item["type"]]
        self._item = {"id": f"{prefix}_{uuid4().hex}", "status": "in_progress"} | item
        self.document["output"].append(self._item)
        yield "response.output_item.added", {"output_index": len(self.document["output"]) - 1, "item": dict(self._item)}

    def _place(self) -> Document:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": len(self.document["output"]) - 1}

    def _close(self, status: str) -> Iterator[Named]:
        """End the open item."""
        item = self._item
        if item is None:
            return
        if item["type"] in _PART_KINDS:
            yield from self._close_text(item)
        elif item["type"] == "function_call":
            item["arguments"] = "".join(self._arguments)
            yield "response.function_call_arguments.done", self._place() | {"arguments": item["arguments"], "name": item["name"]}
        else:
            item["input"] = _free_text("".join(self._arguments))
            yield "response.custom_tool_call_input.delta", self._place() | {"delta": item["input"]}
            yield "response.custom_tool_call_input.done", self._place() | {"input": item["input"]}
        item["status"] = status
        yield "response.output_item.done", {"output_index": len(self.document["output"]) - 1, "item": item}
        self._item = None

    def _close_text(self, item: Document) -> Iterator[Named]:
        kind = _PART_KINDS[item["type"]]
        part = _part(kind, "".join(self._texts))
        item["content"] = [part]
        place = self._place() | {"content_index": 0}
        yield f"response.{kind}.done", place | {"text": part["text"]} | ({"logprobs": []} if kind == "output_text" else {})
        yield "response.content_part.done", place | {"part": part}

    def _cut_off(self, reason: str) -> Iterator[Named]:
        if reason == "steered":
            self.document["incomplete_details"] = {"reason": "steered"}
        yield from self._close("incomplete")
        yield from self._finish("incomplete" if reason == "steered" else "cancelled", "incomplete")

    def _finish(self, status: str, event: str) -> Iterator[Named]:
        self.document["status"] = status
        if status == "completed":
            self.document["completed_at"] = int(time.time())
        self.document["usage"] = {
            "input_tokens": self._num_prompt_tokens,
            "input_tokens_details": {"cached_tokens": self._num_cached, "cache_write_tokens": 0},
            "output_tokens": self._num_output_tokens,
            "output_tokens_details": {"reasoning_tokens": self._num_reasoning_tokens},
            "total_tokens": self._num_prompt_tokens + self._num_output_tokens,
        }
        yield self._state(event)

    def _state(self, name: str) -> Named:
        return f"response.{name}", {"response": self.document}

    def _written(self, events: Any) -> list[Event]:
        """Number and write each event as it comes, because the document goes on changing."""
        written = []
        for name, fields in events:
            data = orjson.dumps({"type": name, "sequence_number": self._number} | fields)
            written.append(Event(data, name))
            self._number += 1
        return written


def _part(kind: str, text: str) -> Document:
    return {"type": kind, "text": text} | ({"annotations": [], "logprobs": []} if kind == "output_text" else {})


def _free_text(arguments: str) -> str:
    """Return the one text of a custom tool's call; what is not the object that was asked for, as it is."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments
