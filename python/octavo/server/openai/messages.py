"""The turns of a conversation, as clients send them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, FailFast, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from octavo.server.edge.body import RequestBody

__all__ = ["FirstFault", "Message", "Messages", "image_part", "joined_contents"]

_MAX_MESSAGES = 4096
_MAX_PARTS = 4096  # of the content of a message
_MAX_ROLE = 64  # characters
_MAX_KEY = 20  # characters of a part's type that a message repeats
_TEXTS = {"text": "text", "refusal": "refusal"}  # a part's type and the field with its text
_IMAGE = "image_url"
_FORM = '{"type": "text", "text": ...} or {"type": "image_url", "image_url": {"url": ...}}'


class FirstFault(FailFast):
    """One error of a list, not one for each item. `typing` wants the metadata of a part of a union to be hashable."""

    __hash__ = object.__hash__


def _content(value: Any) -> Any:
    """Join text parts with newlines; what is neither text nor an image is refused by name."""
    if not isinstance(value, list):
        return value
    if len(value) > _MAX_PARTS:
        raise PydanticCustomError("parts", "has more than {most} parts", {"most": _MAX_PARTS})
    return "\n".join(part for part in map(_part, range(len(value)), value) if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """A part of a message that shows an image."""

    url: str


def _part(index: int, part: Any) -> str | ImageUrl:
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    if kind == _IMAGE:
        image = part.get(_IMAGE)
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str):
            return ImageUrl(url)
    elif isinstance(part, dict) and isinstance(kind, str) and isinstance(text := part.get(_TEXTS.get(kind, "")), str):
        return text
    raise PydanticCustomError(
        "content_part", "part {index} is {kind}; it must be {form}", {"index": index, "kind": repr(kind)[:_MAX_KEY], "form": _FORM}
    )


def image_part(url: str) -> dict[str, Any]:
    """The part of a message that shows an image, for APIs that write it otherwise."""
    return {"type": _IMAGE, _IMAGE: {"url": url}}


def joined_contents(first: Any, second: Any) -> Any:
    """The contents of two messages as that of one: a text where both are, else their parts."""
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n{second}"
    parts = [[{"type": "text", "text": content}] if isinstance(content, str) else content for content in (first, second)]
    return [*parts[0], *parts[1]]


class Message(RequestBody):
    """One turn. Which roles there are, and what further fields mean (`reasoning_content`, `tool_calls`), the model's template knows."""

    model_config = ConfigDict(extra="allow")

    role: str = Field(min_length=1, max_length=_MAX_ROLE)
    content: Annotated[str, BeforeValidator(_content, json_schema_input_type=str | list[dict[str, Any]])] = ""
    _parts: list[str | ImageUrl] = PrivateAttr(default_factory=list)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_images(cls, data: Any, handler: ModelWrapValidatorHandler[Message]) -> Message:
        message = handler(data)
        content = data.get("content") if isinstance(data, dict) else None
        if isinstance(content, list) and any(part["type"] == _IMAGE for part in content):  # they are parts of a known type by now
            message._parts = [_part(index, part) for index, part in enumerate(content)]
        return message

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
        """Return the turn as a template takes it: its content is parts where it shows images."""
        parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in self._parts]
        return {"role": self.role, "content": parts or self.content, **(self.model_extra or {})}

    @property
    def image_urls(self) -> list[str]:
        """Of the images that the turn shows, in order."""
        return [part.url for part in self._parts if isinstance(part, ImageUrl)]


Messages = Annotated[list[Message], Field(min_length=1, max_length=_MAX_MESSAGES), FirstFault()]
