"""The body of POST /v1/decisions: an input, and questions about it with few possible answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, model_validator
from pydantic_core import PydanticCustomError

from octavo.server.edge.body import RequestBody
from octavo.server.openai.messages import FirstFault

__all__ = ["ChoiceQuestion", "DecisionsBody", "InputMessage", "Predicate", "Question", "ScoreQuestion"]

_MAX_QUESTIONS = 400
_MAX_MESSAGES = 4096
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


def _text(value: Any) -> Any:
    """Join text parts with newlines; images and JSON are refused by name."""
    if not isinstance(value, list):
        return value
    texts = []
    for index, part in enumerate(value[:_MAX_MESSAGES]):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(_TEXTS.get(kind, "")) if isinstance(part, dict) and isinstance(kind, str) else None
        if not isinstance(text, str):
            raise PydanticCustomError("part", "part {index} is no text, and this server reads text only", {"index": index})
        texts.append(text)
    return "\n".join(texts)


Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | list[dict[str, Any]])]


def _messages(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class InputMessage(RequestBody):
    """One message of the input. Calls of tools and their outputs are not read."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text
    phase: Any = None


class _Question(RequestBody):
    model_config = ConfigDict(extra="forbid")

    instructions: Text
    name: str | None = None


class Predicate(_Question):
    """How likely it is that a statement about the input is true."""

    type: Literal["predicate"]


class Option(RequestBody):
    """One of the answers that a choice may have."""

    value: StrictStr | StrictBool
    description: str | None = None


class ChoiceQuestion(_Question):
    """Which of some options fits the input."""

    type: Literal["choice"]
    choices: Annotated[list[Option], Field(min_length=2, max_length=255), FirstFault()]

    @model_validator(mode="after")
    def _distinct(self) -> ChoiceQuestion:
        if len({(type(option.value), option.value) for option in self.choices}) < len(self.choices):
            raise ValueError("two choices have the same value")
        return self


class Level(RequestBody):
    """One step of a score, from the lowest up."""

    label: str
    description: str | None = None


class ScoreQuestion(_Question):
    """How high the input is on a scale of levels."""

    type: Literal["score"]
    levels: Annotated[list[Level], Field(min_length=2, max_length=255), FirstFault()]


Question = Annotated[Predicate | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


_SomeMessages = Annotated[list[InputMessage], Field(min_length=1, max_length=_MAX_MESSAGES)]
_Messages = Annotated[_SomeMessages, FirstFault(), BeforeValidator(_messages, json_schema_input_type=str | _SomeMessages)]


class DecisionsBody(RequestBody):
    """POST /v1/decisions."""

    model: str | None = None
    input: _Messages
    questions: Annotated[Sequence[Question], Field(min_length=1, max_length=_MAX_QUESTIONS)]

    # accepted and ignored: they label a request and never change its answer
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
