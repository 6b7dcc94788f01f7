"""Ollama's request shapes. Unknown fields and options are ignored, as Ollama does."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from octavo.server.edge.body import RequestBody
from octavo.server.openai.messages import FirstFault

__all__ = ["ChatBody", "GenerateBody", "ShowBody"]

_MAX_MESSAGES = 4096
_MAX_TOOLS = 512
_MAX_IMAGES = 64


class _Body(RequestBody):
    model_config = ConfigDict(extra="allow")


class Options(_Body):
    """Sampling; a missing one has Ollama's default."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    seed: int | None = None
    num_predict: int | None = None
    stop: list[str] = Field(default_factory=list)
    repeat_penalty: float = 1.1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


class _Generation(_Body):
    model: str
    stream: bool = True
    options: Options = Field(default_factory=Options)
    format: Any = None
    think: bool | str | None = None


class ChatBody(_Generation):
    """POST /api/chat."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=_MAX_MESSAGES), FirstFault()]
    tools: Annotated[list[dict[str, Any]], Field(max_length=_MAX_TOOLS), FirstFault()] = Field(default_factory=list)


class GenerateBody(_Generation):
    """POST /api/generate. `raw`: no chat template."""

    prompt: str = ""
    system: str = ""
    images: Annotated[list[str], Field(max_length=_MAX_IMAGES), FirstFault()] = Field(default_factory=list)
    raw: bool = False


class ShowBody(_Body):
    """POST /api/show."""

    model: str | None = None
    name: str | None = None
