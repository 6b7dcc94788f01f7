"""From the items of the Responses API to the turns that chat templates are written for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from octavo.errors import InvalidRequestError
from octavo.server.edge.body import parse_body
from octavo.server.openai.messages import image_part, joined_contents
from octavo.server.openai.protocol import ChatBody
from octavo.server.responses.protocol import SAMPLING_FIELDS, InputTokensBody, Item, ResponsesBody
from octavo.server.responses.tools import client_tools, model_name

__all__ = ["chat_body", "check_item", "input_items"]

_TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "summary_text": "text", "reasoning_text": "text"}
_TEXT_PARTS |= {"refusal": "refusal"}
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}
_IMAGE = "input_image"
_MAX_TYPE = 40  # characters of an item's type that a message repeats

FindItem = Callable[[str], Item | None]


def input_items(body: InputTokensBody, find: FindItem) -> list[Item]:
    """Return the body's items, each with a type and an id, references replaced by what they name.

    Raises:
        InvalidRequestError: an item that cannot be read, or a reference to nothing.
    """
    given = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input
    return [_item(item, f"input[{index}]", find) for index, item in enumerate(given)]


def _item(given: Item, where: str, find: FindItem) -> Item:
    given = {name: value for name, value in given.items() if value is not None}
    kind = given.get("type", "message")
    if kind == "item_reference" or (set(given) <= {"id", "type"} and "id" in given):
        found = find(str(given.get("id")))
        if found is None:
            raise InvalidRequestError(f"{where}: no item {str(given.get('id'))[:80]!r} is stored; send the item itself", where)
        return found
    item = {"id": f"{_PREFIXES.get(kind, 'item') if isinstance(kind, str) else ''}_{uuid4().hex}", "type": kind} | given
    check_item(item, where)
    if kind == "message" and item["role"] != "assistant":
        item["content"] = _parts(item["content"])
    return item


def check_item(item: Item, where: str) -> None:
    """Raise `InvalidRequestError` where `item`, which has a type and an id, cannot be read."""
    kind = item["type"]
    if not isinstance(item["id"], str):
        raise InvalidRequestError(f"{where}.id must be a text", f"{where}.id")
    if kind == "message":
        role = item.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise InvalidRequestError(f"{where}.role must be one of {', '.join(_ROLES)}", f"{where}.role")
        if role == "user":
            _content(item.get("content"), f"{where}.content")
        else:
            _texts(item.get("content"), f"{where}.content")
    elif isinstance(kind, str) and kind in _CALLS:
        for name in ("call_id", "name", _CALLS[kind]):
            if not isinstance(item.get(name), str):
                raise InvalidRequestError(f"{where}.{name} must be a text", f"{where}.{name}")
        if not isinstance(item.get("namespace", ""), str):
            raise InvalidRequestError(f"{where}.namespace must be a text", f"{where}.namespace")
    elif isinstance(kind, str) and kind in _OUTPUTS:
        if not isinstance(item.get("call_id"), str):
            raise InvalidRequestError(f"{where}.call_id must be a text", f"{where}.call_id")
        _texts(item.get("output"), f"{where}.output")
    elif kind == "reasoning":
        for name in ("content", "summary"):
            _texts(item.get(name, []), f"{where}.{name}")
    else:
        raise InvalidRequestError(f"{where} is of type {str(kind)[:_MAX_TYPE]!r}, which this server cannot read", f"{where}.type")


def _parts(content: Any) -> Any:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _texts(content: Any, where: str) -> list[str]:
    """Return the texts of a content, which is a text or a list of parts."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        raise InvalidRequestError(f"{where} must be a text or a list of parts", where)
    texts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(_TEXT_PARTS[kind]) if isinstance(kind, str) and kind in _TEXT_PARTS else None
        if not isinstance(text, str):
            shown = str(kind)[:_MAX_TYPE]
            raise InvalidRequestError(f"{where}[{index}] is of type {shown!r}; only text can be read here", f"{where}[{index}]")
        texts.append(text)
    return texts


def _content(content: Any, where: str) -> Any:
    """A user's content as a chat has it: a text, or parts where it shows images."""
    if not isinstance(content, list) or not any(isinstance(part, dict) and part.get("type") == _IMAGE for part in content):
        return "\n".join(_texts(content, where))
    parts: list[dict[str, Any]] = []
    for index, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") != _IMAGE:
            parts.append({"type": "text", "text": _texts([part], where)[0]})
            continue
        if not isinstance(part.get("image_url"), str):
            message = f"{where}[{index}]: an input_image needs image_url, a text; files of an earlier upload (file_id) are not kept here"
            raise InvalidRequestError(message, f"{where}[{index}]")
        parts.append(image_part(part["image_url"]))
    return parts


def chat_body(body: InputTokensBody, items: Sequence[Item]) -> ChatBody:
    """Return the chat request that asks for the same, `items` being the whole conversation.

    Raises:
        InvalidRequestError, ApiError: what cannot be asked for.
    """
    turns = _turns(items)
    if body.instructions:
        turns.insert(0, {"role": "system", "content": body.instructions})
    fields: dict[str, Any] = {"messages": _joined(turns), "tools": [tool.definition() for tool in client_tools(body).values()]}
    fields |= {"parallel_tool_calls": body.parallel_tool_calls, "tool_choice": _tool_choice(body.tool_choice)}
    if body.model is not None:
        fields["model"] = body.model
    if isinstance(body, ResponsesBody):
        fields |= {name: value for name in SAMPLING_FIELDS if (value := getattr(body, name)) is not None}
        if body.max_output_tokens is not None:
            fields["max_completion_tokens"] = body.max_output_tokens
    _add_reasoning(fields, body)
    form = body.text.format if body.text is not None else None
    if form is not None and form.type != "text":
        schema = {"name": form.name, "schema": form.schema_ or {}, "strict": form.strict}
        fields["response_format"] = {"type": form.type} | ({"json_schema": schema} if form.type == "json_schema" else {})
    return parse_body(fields, ChatBody)


def _add_reasoning(fields: dict[str, Any], body: InputTokensBody) -> None:
    effort = body.reasoning.effort if body.reasoning is not None else None
    if effort == "none":
        fields["chat_template_kwargs"] = {"enable_thinking": False} | (fields.get("chat_template_kwargs") or {})
    elif effort is not None:
        fields["reasoning_effort"] = effort


def _tool_choice(choice: str | dict[str, Any]) -> Any:
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom"):
        return {"type": "function", "function": {"name": model_name(str(choice.get("name")), choice.get("namespace"))}}
    if isinstance(choice, dict):
        raise InvalidRequestError(f"tool_choice of type {str(choice.get('type'))[:_MAX_TYPE]!r} is not supported", "tool_choice")
    return choice


def _turns(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Thoughts, text and calls that follow one another are one turn of the assistant."""
    turns: list[dict[str, Any]] = []
    for item in items:
        kind = item["type"]
        if kind == "message" and item["role"] != "assistant":
            turns.append({"role": _ROLES[item["role"]], "content": _content(item["content"], "input")})
        elif kind in _OUTPUTS:
            turns.append({"role": "tool", "tool_call_id": item["call_id"], "content": "\n".join(_texts(item["output"], "input"))})
        else:
            _say(_open_turn(turns, kind), item)
    return turns


def _open_turn(turns: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the assistant's turn that an item of `kind` belongs to: the last one, unless it has gone past such items."""
    last = turns[-1] if turns else None
    if last is None or last["role"] != "assistant" or (kind == "reasoning" and (last["content"] or "tool_calls" in last)):
        turns.append({"role": "assistant", "content": ""})
    return turns[-1]


def _say(turn: dict[str, Any], item: Item) -> None:
    kind = item["type"]
    if kind == "message":
        turn["content"] = "\n".join(filter(None, [turn["content"], *_texts(item["content"], "input")]))
    elif kind == "reasoning":
        thoughts = _texts(item.get("content") or item.get("summary") or [], "input")
        if thoughts:
            turn["reasoning_content"] = "\n".join(thoughts)
    else:
        arguments = item["arguments"] if kind == "function_call" else json.dumps({"input": item["input"]}, ensure_ascii=False)
        name = model_name(item["name"], item.get("namespace"))
        call = {"id": item["call_id"], "type": "function", "function": {"name": name, "arguments": arguments}}
        turn.setdefault("tool_calls", []).append(call)


def _joined(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbouring turns of the user, or of the system, as one: templates want roles to alternate."""
    joined: list[dict[str, Any]] = []
    for turn in turns:
        if joined and turn["role"] == joined[-1]["role"] and turn["role"] in ("user", "system"):
            joined[-1] = {"role": turn["role"], "content": joined_contents(joined[-1]["content"], turn["content"])}
        else:
            joined.append(turn)
    return joined
