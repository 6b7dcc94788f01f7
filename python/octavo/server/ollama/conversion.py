"""From Ollama's requests to OpenAI's."""

from __future__ import annotations

import json
from typing import Any

from octavo.errors import InvalidRequestError
from octavo.server.edge.body import parse_body
from octavo.server.ollama.protocol import ChatBody, GenerateBody, Options
from octavo.server.openai import protocol as openai
from octavo.server.openai.messages import image_part

__all__ = ["chat_of", "model_name", "of_generate"]

_TAG = ":latest"


def model_name(name: str) -> str:
    """A model's name without the tag that Ollama's clients add."""
    return name.removesuffix(_TAG)


def chat_of(body: ChatBody) -> openai.ChatBody:
    """Return the chat request that asks for the same."""
    turns = [_turn(message) for message in body.messages]
    tools = [{"type": "function", "function": tool.get("function")} for tool in body.tools]
    return parse_body({**_common(body), "messages": turns, "tools": tools} | _limit(body.options, 0), openai.ChatBody)


def of_generate(body: GenerateBody) -> openai.ChatBody | openai.CompletionBody:
    """Return the request that asks for the same: a chat of one turn, or a plain completion where the prompt is raw."""
    if body.raw:
        if body.images:
            raise InvalidRequestError("images: a raw prompt shows none; leave raw out", "images")
        fields = {**_common(body), "prompt": body.prompt} | _limit(body.options, 128)
        fields.pop("chat_template_kwargs", None)
        return parse_body(fields, openai.CompletionBody)
    system = [{"role": "system", "content": body.system}] if body.system else []
    turns = [*system, {"role": "user", "content": _content(body.prompt, body.images, "images")}]
    return parse_body({**_common(body), "messages": turns} | _limit(body.options, 0), openai.ChatBody)


def _common(body: ChatBody | GenerateBody) -> dict[str, Any]:
    options = body.options
    fields: dict[str, Any] = {
        "model": model_name(body.model),
        "temperature": options.temperature,
        "top_k": max(options.top_k, 0),
        "top_p": options.top_p,
        "min_p": options.min_p,
        "stop": options.stop,
        "repetition_penalty": options.repeat_penalty,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
    }
    if options.seed is not None:
        fields["seed"] = options.seed
    if body.think is not None:
        fields["chat_template_kwargs"] = {"enable_thinking": bool(body.think)}
    if body.format:
        fields["response_format"] = _response_format(body.format)
    return fields


def _limit(options: Options, otherwise: int) -> dict[str, Any]:
    """`num_predict`: -1 and -2 mean as many as fit."""
    most = options.num_predict if options.num_predict is not None else otherwise
    return {"max_tokens": most} if most > 0 else {}


def _response_format(wanted: Any) -> dict[str, Any]:
    if wanted == "json":
        return {"type": "json_object"}
    if isinstance(wanted, dict):
        return {"type": "json_schema", "json_schema": {"name": "format", "schema": wanted, "strict": True}}
    raise InvalidRequestError("format must be 'json' or a JSON schema", "format")


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    """Ollama's calls have objects as arguments and no ids, and its images no type: base64 of the file, which tells its own."""
    turn = {"role": message.get("role"), "content": _content(message.get("content") or "", message.get("images") or [], "messages")}
    if message.get("thinking"):
        turn["reasoning_content"] = message["thinking"]
    if message.get("tool_name"):
        turn["name"] = message["tool_name"]
    calls = message.get("tool_calls")
    if calls:
        turn["tool_calls"] = [_call(index, call) for index, call in enumerate(calls)]
    return turn


def _content(text: Any, images: Any, field: str) -> Any:
    if not images:
        return text
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise InvalidRequestError("images must be a list of texts, each the base64 of an image file", field)
    return [*({"type": "text", "text": text} for _ in range(bool(text))), *(image_part(f"data:image/*;base64,{image}") for image in images)]


def _call(index: int, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequestError("a tool call needs a function with a name", "messages")
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": f"call_{index}", "type": "function", "function": {"name": function["name"], "arguments": text}}
