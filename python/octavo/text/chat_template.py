"""Chat templates: a list of messages to the prompt text that the model was trained on.

Templates are Jinja programs that come with a model, so they run in a sandbox that also bounds their time and output (`template_sandbox`).
Names and filters that they may use are those of the transformers library, for which they are written. Jinja is imported at the first
rendering.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from octavo.errors import CheckpointError, InvalidRequestError

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["ChatTemplate"]

_MAX_ERROR_CHARS = 500


class ChatTemplate:
    """One or more templates of a model: `default`, and `tool_use` for requests with tools where there is one."""

    def __init__(self, templates: Mapping[str, str], special_tokens: Mapping[str, str]) -> None:
        """
        Args:
            templates: name -> Jinja source; has `default`, or else its first is the default.
            special_tokens: variables such as `bos_token` and `eos_token`.
        """
        self._sources = dict(templates)
        self._special_tokens = dict(special_tokens)

    def with_source(self, source: str) -> ChatTemplate:
        """Return a template of another source, with the same special tokens."""
        return ChatTemplate({"default": source}, self._special_tokens)

    @property
    def source(self) -> str:
        """Jinja source of the default template."""
        return self._sources.get("default") or next(iter(self._sources.values()))

    def render(
        self,
        messages: list[dict[str, Any]],
        /,
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> str:
        """Return the prompt text.

        Args:
            messages: OpenAI's shape; content parts of type text are joined with newlines, unless a part of type image is among them.
            tools: OpenAI's tool definitions.
            add_generation_prompt: end with the beginning of an assistant turn.
            kwargs: further variables, such as `enable_thinking`.

        Raises:
            InvalidRequestError: the template refuses the messages or passes a bound of time or size, or a content part is not text.
            CheckpointError: the template itself is not valid Jinja, or too long or too deep to be compiled.
        """
        template = self._tool_use if tools and "tool_use" in self._sources else self._default
        variables: dict[str, Any] = {**self._special_tokens, "documents": None, **kwargs}
        variables |= {"messages": [_plain(message) for message in messages], "tools": tools, "add_generation_prompt": add_generation_prompt}
        return _rendered(template, variables)

    @cached_property
    def _default(self) -> Template:
        return _compiled(self.source)

    @cached_property
    def _tool_use(self) -> Template:
        return _compiled(self._sources["tool_use"])


def _compiled(source: str) -> Template:
    from jinja2 import TemplateError, TemplateSyntaxError

    from octavo.text.template_sandbox import compile_template

    try:
        return compile_template(source)
    except TemplateSyntaxError as error:
        raise CheckpointError(f"the model's chat template is not valid Jinja: line {error.lineno}: {error.message}") from error
    except (MemoryError, OverflowError, RecursionError, SyntaxError, TemplateError, ValueError) as error:
        raise CheckpointError(f"the model's chat template is too long or too deep ({_short(error)})") from error


def _rendered(template: Template, variables: dict[str, Any]) -> str:
    """Render within the bounds of a meter."""
    from octavo.text.template_meter import Meter, metered

    try:
        with metered(Meter(variables)):
            return template.render(variables)
    except Exception as error:  # a template is a program: whatever it raises, these messages cannot be rendered
        raise InvalidRequestError(f"the model's chat template cannot render these messages: {_short(error)}", "messages") from error


def _short(error: Exception) -> str:
    return f"{error or type(error).__name__}"[:_MAX_ERROR_CHARS]


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A copy whose content is one string, parts where it shows images, and whose tool-call arguments are objects: what templates are
    written for."""
    content = message.get("content")
    plain = {**message, "content": content if _shows_images(content) else _content_text(content)}
    if message.get("tool_calls"):
        plain["tool_calls"] = [_with_parsed_arguments(call) for call in message["tool_calls"]]
    return plain


def _shows_images(content: Any) -> bool:
    """Whether the content is parts of text and images, as templates of models that read images take them."""
    return isinstance(content, list) and any(part == {"type": "image"} for part in content)


def _content_text(content: Any) -> str:
    if not isinstance(content, list):
        return "" if content is None else content
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise InvalidRequestError(f"a content part of type {kind!r} cannot be read by this model; only text can", "messages")
    return "\n".join(part["text"] for part in content)


def _with_parsed_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError as error:
        name = function.get("name")
        raise InvalidRequestError(f"the arguments of the tool call {name!r} are not valid JSON: {error}", "messages") from error
    return {**call, "function": {**function, "arguments": arguments}}
