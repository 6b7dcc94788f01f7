"""Chat templates: a list of messages to the prompt text that the model was trained on.

Templates are Jinja programs that come with a model, so they run in an immutable sandbox. Names and filters that they may use are
those of the transformers library, for which they are written. Jinja is imported at the first rendering.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from octavo.errors import CheckpointError, InvalidRequestError

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["ChatTemplate"]


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

    @property
    def source(self) -> str:
        """Jinja source of the default template."""
        return self._sources.get("default") or next(iter(self._sources.values()))

    def render(
        self,
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> str:
        """Return the prompt text.

        Args:
            messages: OpenAI's shape; content parts of type text are joined with newlines.
            tools: OpenAI's tool definitions.
            add_generation_prompt: end with the beginning of an assistant turn.
            kwargs: further variables, such as `enable_thinking`.

        Raises:
            InvalidRequestError: the template refuses the messages, or a content part is not text.
            CheckpointError: the template itself is not valid Jinja.
        """
        template = self._tool_use if tools and "tool_use" in self._sources else self._default
        variables: dict[str, Any] = {**self._special_tokens, "documents": None, **kwargs}
        variables |= {"messages": [_plain(message) for message in messages], "tools": tools, "add_generation_prompt": add_generation_prompt}
        try:
            return template.render(variables)
        except Exception as error:  # a template is a program: whatever it raises, these messages cannot be rendered
            raise InvalidRequestError(f"the model's chat template cannot render these messages: {error}", "messages") from error

    @cached_property
    def _default(self) -> Template:
        return _compiled(self.source)

    @cached_property
    def _tool_use(self) -> Template:
        return _compiled(self._sources["tool_use"])


def _compiled(source: str) -> Template:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from octavo.text.generation_tag import GenerationTag

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationTag])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise CheckpointError(f"the model's chat template is not valid Jinja: line {error.lineno}: {error.message}") from error


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    """Jinja's own filter escapes HTML characters, which a prompt must not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _strftime_now(date_format: str) -> str:
    return datetime.now().strftime(date_format)


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A copy whose content is one string and whose tool-call arguments are objects: what templates are written for."""
    plain = {**message, "content": _content_text(message.get("content"))}
    if message.get("tool_calls"):
        plain["tool_calls"] = [_with_parsed_arguments(call) for call in message["tool_calls"]]
    return plain


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
