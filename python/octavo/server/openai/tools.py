"""OpenAI's `tools` and `tool_choice` of a chat request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from octavo.server.edge.body import RequestBody
from octavo.server.openai.messages import FirstFault

__all__ = ["NamedTool", "Tools"]

_MAX_TOOLS = 512
_NAME = r"^[a-zA-Z0-9_.\-]{1,128}$"


class Function(RequestBody):
    """A function that the model may call. `parameters` is a JSON schema of an object."""

    name: str = Field(pattern=_NAME)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool = False


class Tool(RequestBody):
    """A tool; only functions are known."""

    type: Literal["function"]
    function: Function

    def definition(self) -> dict[str, Any]:
        """Return the tool as templates take it."""
        return {"type": "function", "function": self.function.model_dump(include={"name", "description", "parameters"})}


class FunctionName(RequestBody):
    """Names a function."""

    name: str


class NamedTool(RequestBody):
    """A `tool_choice` that names the function to call."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: FunctionName


Tools = Annotated[list[Tool], Field(max_length=_MAX_TOOLS), FirstFault()]
