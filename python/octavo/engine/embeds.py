"""Embeddings in place of a prompt's tokens: checked, and put into the terms of a `GenerationRequest`."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from octavo.engine.model_info import ModelInfo
from octavo.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequestError
from octavo.types import MediaSpan, PromptEmbeds

__all__ = ["FIELD", "EmbeddedPrompt", "embedded_prompt", "embeds_width", "rows_of"]

FIELD = "prompt_embeds"
_MOST = 65504.0  # the largest half float: products of such values stay finite in float32
_KEY_BYTES = 32
_PLACEHOLDER = 0  # any token: it is never looked up


class EmbeddedPrompt(NamedTuple):
    """Placeholders, and what stands in their place; see `GenerationRequest`."""

    token_ids: list[int]
    pictures: tuple[PromptEmbeds, ...]
    media: tuple[MediaSpan, ...]


def embeds_width(info: ModelInfo) -> int:
    """Values of a row. Raises `InvalidRequestError` where the engine takes none."""
    if info.embeds_width is None:
        message = f"{FIELD}: this model takes none here; start it with --enable-prompt-embeds (LLM: enable_prompt_embeds=True)"
        raise InvalidRequestError(message, FIELD)
    return info.embeds_width


def rows_of(shape: tuple[int, ...], info: ModelInfo) -> tuple[int, int]:
    """The rows and the values of each, of an array [tokens, E] or [1, tokens, E]. Raises `InvalidRequestError` for another shape."""
    width, most = embeds_width(info), info.max_model_len - 1
    rows = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if len(rows) != 2 or rows[1] != width or rows[0] < 1:
        raise InvalidRequestError(f"{FIELD} has the shape {list(shape)[:4]}; this model's is [tokens, {width}]", FIELD)
    if rows[0] > most:
        message = f"{FIELD} has {rows[0]} rows, but this model's context holds {most} beside one output; shorten it"
        raise InvalidRequestError(message, FIELD, CONTEXT_LENGTH_EXCEEDED)
    return rows[0], rows[1]


def embedded_prompt(values: NDArray[Any], info: ModelInfo) -> EmbeddedPrompt:
    """The prompt that `values` [tokens, E] make.

    Raises:
        InvalidRequestError: the engine takes none, they have another shape or type, are too many, or no finite numbers of a usual size.
    """
    shape = rows_of(values.shape, info)
    if values.dtype.kind != "f":
        raise InvalidRequestError(f"{FIELD} has the data type {values.dtype}; it must be float32 or float16", FIELD)
    if not (np.abs(values) <= _MOST).all():  # false for NaN
        raise InvalidRequestError(f"{FIELD} has values that are no finite numbers, or beyond {_MOST:.0f}; an embedding's are small", FIELD)
    data = np.ascontiguousarray(values.reshape(shape), np.float32).tobytes()
    key = blake2b(data, digest_size=_KEY_BYTES).digest()
    count = shape[0]
    return EmbeddedPrompt([_PLACEHOLDER] * count, (PromptEmbeds(key, data, count),), (MediaSpan(0, count, _PLACEHOLDER, key, 0),))
