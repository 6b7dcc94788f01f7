"""From Anthropic's messages to the turns that chat templates are written for (OpenAI's)."""

from __future__ import annotations

import json
from typing import Any

from octavo.errors import InvalidRequestError
from octavo.server.anthropic.protocol import Block, Content, CountTokensBody, MessagesBody, Tool
from octavo.server.edge.body import parse_body
from octavo.server.openai.messages import image_part, joined_contents
from octavo.server.openai.protocol import ChatBody

__all__ = ["chat_body"]

# Claude Code writes a line with this beginning in front of its system prompt. It changes with each request, so no prefix would be
# found in the cache again.
_BILLING = "x-anthropic-billing-header"
_MAX_TYPE = 40  # characters of a media type
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}


def chat_body(body: CountTokensBody) -> ChatBody:
    """Return the chat request that asks for the same. Raises `InvalidRequestError` and `ApiError` for what cannot be asked for."""
    fields: dict[str, Any] = {"messages": _turns(body), "tools": [_tool(tool) for tool in body.tools]}
    if body.model is not None:
        fields["model"] = body.model
    if body.tool_choice is not None:
        choice = body.tool_choice
        named = {"type": "function", "function": {"name": choice.name}}
        fields["tool_choice"] = named if choice.type == "tool" else _CHOICES[choice.type]
        fields["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    if body.thinking is not None:
        fields["chat_template_kwargs"] = {"enable_thinking": body.thinking.type != "disabled"}
    if isinstance(body, MessagesBody):
        fields |= {"max_tokens": body.max_tokens, "temperature": body.temperature, "stop": body.stop_sequences}
        fields |= {name: value for name in ("top_p", "top_k") if (value := getattr(body, name)) is not None}
    return parse_body(fields, ChatBody)


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.type != "custom":
        raise InvalidRequestError(f"the tool {tool.name!r} of type {tool.type!r} runs at the provider; this server has none", "tools")
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}}


def _turns(body: CountTokensBody) -> list[dict[str, Any]]:
    system = "\n".join(text for text in _texts(body.system, "system") if not text.startswith(_BILLING))
    turns: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in body.messages:
        if message.role == "assistant":
            turns.append(_assistant_turn(message.content))
        else:
            turns += _user_turns(message.content)
    return _joined(turns)


def _texts(content: Content, where: str) -> list[str]:
    if isinstance(content, str):
        return [content]
    texts = []
    for block in content:
        if block.get("type") != "text" or not isinstance(block.get("text"), str):
            raise InvalidRequestError(f"{where} has a block of type {block.get('type')!r}; only text can be read there", where)
        texts.append(block["text"])
    return texts


def _assistant_turn(content: Content) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": content if isinstance(content, str) else ""}
    texts, calls, thoughts = [], [], []
    for block in [] if isinstance(content, str) else content:
        kind = block.get("type")
        if kind == "text":
            texts.append(str(block.get("text", "")))
        elif kind == "tool_use":
            calls.append(_call(block))
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking", "")))
        elif kind != "redacted_thinking":
            raise _unreadable(kind)
    if texts:
        turn["content"] = "\n".join(texts)
    if calls:
        turn["tool_calls"] = calls
    if thoughts:
        turn["reasoning_content"] = "\n".join(thoughts)
    return turn


def _call(block: Block) -> dict[str, Any]:
    arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
    return {"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}}


def _user_turns(content: Content) -> list[dict[str, Any]]:
    """Tools' answers first, each a turn of its own, then what the user says."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    answers: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in content:
        kind = block.get("type")
        if kind == "text":
            parts.append({"type": "text", "text": str(block.get("text", ""))})
        elif kind == "image":
            parts.append(image_part(_image_url(block.get("source"))))
        elif kind == "tool_result":
            text = "\n".join(_texts(block.get("content") or "", "tool_result"))
            answers.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text})
        else:
            raise _unreadable(kind)
    return [*answers, *([{"role": "user", "content": _plain(parts)}] if parts or not answers else [])]


def _plain(parts: list[dict[str, Any]]) -> Any:
    """The parts; one text, where nothing else is among them."""
    shows_images = any(part["type"] != "text" for part in parts)
    return parts if shows_images else "\n".join(part["text"] for part in parts)


def _image_url(source: Any) -> str:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "base64" and isinstance(source.get("data"), str):
        return f"data:{str(source.get('media_type'))[:_MAX_TYPE]};base64,{source['data']}"
    if kind == "url" and isinstance(source.get("url"), str):
        return str(source["url"])
    raise InvalidRequestError('an image\'s source must be {"type": "base64", "media_type", "data"} or {"type": "url", "url"}', "messages")


def _unreadable(kind: object) -> InvalidRequestError:
    return InvalidRequestError(f"a content block of type {kind!r} cannot be read by this model", "messages")


def _joined(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbouring turns of the user as one: templates want roles to alternate, and system reminders have become such turns."""
    joined: list[dict[str, Any]] = []
    for turn in turns:
        if joined and turn["role"] == "user" == joined[-1]["role"]:
            joined[-1] = {"role": "user", "content": joined_contents(joined[-1]["content"], turn["content"])}
        else:
            joined.append(turn)
    return joined
