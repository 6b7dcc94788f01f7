"""Requests that are nearly right: a good body with some of its values replaced, some of its bytes broken. A seed makes them again."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

__all__ = ["GOOD", "malformed"]

_MESSAGES = [{"role": "user", "content": "hi"}]
_CHAT = {"messages": _MESSAGES, "max_tokens": 2, "n": 1, "stop": ["x"], "logit_bias": {"5": 1.0}, "temperature": 0.5}
_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
_USAGE = {"include_usage": True}
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
_TEXT = [{"type": "text", "text": "a"}]
_FUNCTION = {"type": "function", "name": "f", "parameters": {}}
_INPUT = [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]
_OPTIONS = {"num_predict": 2, "seed": 1}
_QUESTION = {"id": "q", "type": "predicate", "question": "Is it?"}

GOOD: dict[str, list[dict[str, Any]]] = {
    "/v1/completions": [
        {"prompt": "a", "max_tokens": 2, "best_of": 2, "n": 1, "logprobs": 1, "logprob_token_ids": [5], "stop": "x"},
        {"prompt_embeds": "k05VTVBZ", "max_tokens": 2},
        {
            "prompt": [1, 2],
            "use_beam_search": True,
            "best_of": 2,
            "max_tokens": 2,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ],
    "/v1/chat/completions": [
        _CHAT,
        {**_CHAT, "tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {**_CHAT, "response_format": _FORMAT},
        {
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}],
            "max_tokens": 1,
        },
    ],
    "/v1/responses": [
        {"input": "hi", "max_output_tokens": 2, "store": False, "tools": [_FUNCTION]},
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}],
            "max_output_tokens": 2,
            "previous_response_id": "r",
        },
    ],
    "/v1/responses/input_tokens": [{"input": [{"role": "user", "content": "a"}]}],
    "/v1/messages": [
        {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": _TEXT}], "system": "b"},
        {
            "model": "m",
            "max_tokens": 2,
            "messages": _MESSAGES,
            "tools": [{"name": "f", "input_schema": {}}],
            "tool_choice": {"type": "any"},
        },
    ],
    "/v1/messages/count_tokens": [{"model": "m", "messages": _MESSAGES}],
    "/v1/decisions": [{"input": "It rains.", "questions": [_QUESTION]}],
    "/api/chat": [{"model": "m", "messages": [{"role": "user", "content": "a", "images": ["aGk="]}], "options": _OPTIONS}],
    "/api/generate": [{"model": "m", "prompt": "a", "stream": False, "format": {"type": "object"}, "options": _OPTIONS}],
    "/api/show": [{"model": "m"}],
    "/v1/embeddings": [{"input": ["a"], "dimensions": 2, "encoding_format": "float"}],
    "/pooling": [{"input": "a"}],
    "/classify": [{"input": "a"}],
    "/score": [{"text_1": "a", "text_2": ["b"]}],
    "/rerank": [{"query": "a", "documents": ["b", "c"], "top_n": 1}],
    "/tokenize": [{"prompt": "a"}, {"messages": _MESSAGES}],
    "/detokenize": [{"tokens": [1, 2]}],
}
"""Path -> bodies that are good, or nearly."""

_DEEP: Any = []
for _ in range(200):
    _DEEP = [_DEEP]
_VALUES: list[Any] = [None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 1e308, 1e-46, "", "x", "x" * 2000, "\x00", "\U0001f600", "true"]
_VALUES += [[], {}, [[]], [None], [1], ["a"], {"a": 1}, {"type": "x"}, [{}] * 50, _DEEP, list(range(300)), {str(n): n for n in range(50)}]
_BYTES = [b"", b"\x00", b"\xff\xfe", b"{", b"]", b'"', b"\\", b"NaN", b"1e999", b"\\ud800", b",,", b"\xe2\x82"]


def malformed(path: str, rng: random.Random) -> bytes:
    """One body for `path`."""
    body = copy.deepcopy(rng.choice(GOOD[path]))
    for _ in range(rng.randint(1, 3)):
        _change(body, rng)
    data = json.dumps(body).encode()
    return _broken(data, rng) if rng.random() < 0.2 else data


def _change(body: dict[str, Any], rng: random.Random) -> None:
    """Replace, remove or add one value somewhere."""
    parent: Any = body
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        if not keys:
            return
        key = rng.choice(keys)
        child = parent[key]
        if not isinstance(child, (dict, list)) or rng.random() < 0.4:
            break
        parent = child
    what = rng.random()
    if what < 0.7:
        parent[key] = copy.deepcopy(rng.choice(_VALUES))
    elif what < 0.85:
        del parent[key]
    elif isinstance(parent, dict):
        parent[rng.choice(["x", "model", "stream", str(key) + "s"])] = copy.deepcopy(rng.choice(_VALUES))
    else:
        parent.append(copy.deepcopy(rng.choice(_VALUES)))


def _broken(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    if rng.random() < 0.3:
        return data[:at]
    return data[:at] + rng.choice(_BYTES) + data[at + rng.randint(0, 4) :]
