"""Anthropic's request shapes. Unknown fields are ignored here, because its clients send new ones before any server knows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from octavo.server.edge.body import RequestBody
from octavo.server.openai.messages import FirstFault

__all__ = ["CountTokensBody", "MessagesBody"]

_MAX_MESSAGES = 4096
_MAX_BLOCKS = 4096
_MAX_TOOLS = 512

Block = dict[str, Any]
Content = str | Annotated[list[Block], Field(max_length=_MAX_BLOCKS), FirstFault()]


class _Body(RequestBody):
    model_config = ConfigDict(extra="allow")


class Turn(_Body):
    """One message. `system` may stand among the turns: clients of 2026 put reminders there."""

    role: Literal["user", "assistant", "system"]
    content: Content


class Tool(_Body):
    """A tool of the client's; those that run on the provider's side are refused by name."""

    name: str
    description: str = ""
    input_schema: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    type: str = "custom"


class ToolChoice(_Body):
    """Whether the model may, must or must not call a tool."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Thinking(_Body):
    """Whether the model thinks before it answers; `budget_tokens` is not held to."""

    type: Literal["enabled", "disabled", "adaptive"]


class CountTokensBody(_Body):
    """POST /v1/messages/count_tokens."""

    model: str | None = None
    messages: Annotated[list[Turn], Field(min_length=1, max_length=_MAX_MESSAGES), FirstFault()]
    system: Content = ""
    tools: Annotated[list[Tool], Field(max_length=_MAX_TOOLS), FirstFault()] = Field(default_factory=list)
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None


class MessagesBody(CountTokensBody):
    """POST /v1/messages."""

    max_tokens: int = Field(ge=1)
    stream: bool = False
    temperature: float = Field(default=1.0, ge=0, le=1)
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] = Field(default_factory=list)
