"""The tools of a Responses request: those that a client runs itself, alone or grouped in namespaces, and what the model calls them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from octavo.errors import InvalidRequestError
from octavo.server.responses.protocol import InputTokensBody, Item, Tool

__all__ = ["ClientTool", "client_tools", "model_name", "usable_tools"]

_MAX_TYPE = 40  # characters of a tool's type that a message repeats
# what the model is told that a custom tool takes
_FREE_TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


class ClientTool(NamedTuple):
    """A tool that the model may call.

    Attributes:
        tool: as the client describes it.
        namespace: of it; None where it stands alone.
    """

    tool: Tool
    namespace: str | None

    @property
    def is_custom(self) -> bool:
        """Whether it takes free text. The model calls it as a function of one text, `input`."""
        return self.tool.type == "custom"

    def definition(self) -> dict[str, Any]:
        """Return what a chat request says of it."""
        parameters = _FREE_TEXT if self.is_custom else self.tool.parameters
        name = model_name(self.tool.name, self.namespace)
        function = {"name": name, "description": self.tool.description, "parameters": parameters, "strict": self.tool.strict}
        return {"type": "function", "function": function}

    def item(self, call_id: str) -> Item:
        """Return the item of a call that begins."""
        fields = {"call_id": call_id, "name": self.tool.name, "input" if self.is_custom else "arguments": ""}
        kind = {"type": "custom_tool_call" if self.is_custom else "function_call"}
        return kind | fields | ({} if self.namespace is None else {"namespace": self.namespace})


def model_name(name: str, namespace: str | None) -> str:
    """What the model calls a tool: templates know no namespaces."""
    return f"{namespace}__{name}" if namespace else name


def usable_tools(body: InputTokensBody) -> list[Tool]:
    """Return the tools and namespaces that a client runs itself.

    A web search is left out, because clients offer it without being asked; the answer's `tools` shows what is left. Other tools of the
    provider are refused by name.
    """
    usable = []
    for index, tool in enumerate(body.tools):
        if tool.type in ("function", "custom", "namespace"):
            usable.append(tool)
        elif not tool.type.startswith("web_search"):
            where = f"tools[{index}].type"
            raise InvalidRequestError(
                f"{where}: a tool of type {tool.type[:_MAX_TYPE]!r} runs at the provider; this server has none", where
            )
    return usable


def client_tools(body: InputTokensBody) -> dict[str, ClientTool]:
    """Return the tools that the model may call, by the name that it calls them by. Raises `InvalidRequestError` where two have one name."""
    named: dict[str, ClientTool] = {}
    for each in _each_tool(body):
        name = model_name(each.tool.name, each.namespace)
        if name in named and each.namespace is not None:
            raise InvalidRequestError(f"tools: two are called {name!r}; rename one", "tools")
        named[name] = each
    return named


def _each_tool(body: InputTokensBody) -> Iterator[ClientTool]:
    for tool in usable_tools(body):
        if tool.type == "namespace":
            yield from (ClientTool(member, tool.name) for member in tool.tools if member.type in ("function", "custom"))
        else:
            yield ClientTool(tool, None)
