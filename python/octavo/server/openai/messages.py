"""The turns of a conversation, as clients send them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from octavo.server.edge.body import RequestBody

__all__ = ["FirstFault", "Message", "Messages"]

_MAX_MESSAGES = 4096
_MAX_PARTS = 4096  # of the content of a message
_MAX_ROLE = 64  # characters
_MAX_KEY = 20  # characters of a part's type that a message repeats
_TEXTS = {"text": "text", "refusal": "refusal"}  # a part's type and the field with its text
_FORM = '{"type": "text", "text": ...}'


class FirstFault(FailFast):
    """One error of a list, not one for each item. `typing` wants the metadata of a part of a union to be hashable."""

    __hash__ = object.__hash__


def _content(value: Any) -> Any:
    """Join text parts with newlines; other parts (images, audio) are refused by name."""
    if not isinstance(value, list):
        return value
    if len(value) > _MAX_PARTS:
        raise PydanticCustomError("parts", "has more than {most} parts", {"most": _MAX_PARTS})
    texts = []
    for index, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        text = part.get(_TEXTS.get(kind, "")) if isinstance(part, dict) and isinstance(kind, str) else None
        if not isinstance(text, str):
            shown = {"index": index, "kind": repr(kind)[:_MAX_KEY], "form": _FORM}
            raise PydanticCustomError("content_part", "part {index} is {kind}; it must be {form}", shown)
        texts.append(text)
    return "\n".join(texts)


class Message(RequestBody):
    """One turn. Which roles there are, and what further fields mean (`reasoning_content`, `tool_calls`), the model's template knows."""

    model_config = ConfigDict(extra="allow")

    role: str = Field(min_length=1, max_length=_MAX_ROLE)
    content: Annotated[str, BeforeValidator(_content, json_schema_input_type=str | list[dict[str, Any]])] = ""

    @model_validator(mode="after")
    def _content_needed(self) -> Message:
        if "content" not in self.model_fields_set and self.role != "assistant":
            raise PydanticCustomError("no_content", "a {role} message needs content", {"role": self.role})
        return self

    @property
    def size(self) -> int:
        """About how many characters the turn has, fields that only a template knows not counted."""
        return len(self.content)

    def turn(self) -> dict[str, Any]:
        """Return the turn as a template takes it."""
        return {"role": self.role, "content": self.content, **(self.model_extra or {})}


Messages = Annotated[list[Message], Field(min_length=1, max_length=_MAX_MESSAGES), FirstFault()]
