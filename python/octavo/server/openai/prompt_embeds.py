"""`prompt_embeds`: embeddings that a client computed itself, as base64 of a safetensors or npy file, in place of a prompt's tokens.

Pickles, which `torch.save` writes and other servers read, are programs: they are refused.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from octavo.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequestError
from octavo.server.edge.generation import Prompt
from octavo.types import MediaSpan, PromptEmbeds

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext

__all__ = ["embedded_prompts", "read_rows"]

_FIELD = "prompt_embeds"
_MOST = 65504.0  # the largest half float: products of such values stay finite in float32
_MAX_HEADER = 64 * 1024  # bytes of a safetensors file's
_KEY_BYTES = 32
_PLACEHOLDER = 0  # any token: it is never looked up
_NPY = b"\x93NUMPY"
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # of safetensors; numpy has no bfloat16


class _Stored(NamedTuple):
    """A tensor as a file describes it."""

    shape: tuple[int, ...]
    dtype: str
    data: bytes
    by_columns: bool = False


async def embedded_prompts(context: ServerContext, encoded: Sequence[str]) -> list[Prompt]:
    """Return one `Prompt` per entry, decoded off the event loop when it is long.

    Raises:
        InvalidRequestError: the server takes none, an entry cannot be read, or has rows of another width or too many of them.
    """
    info = context.engine.info
    if encoded and info.embeds_width is None:
        raise InvalidRequestError(f"{_FIELD}: this server takes none; start it with --enable-prompt-embeds", _FIELD)
    return [await context.workers.run(len(text), partial(_prompt, text, info.embeds_width or 0, info.max_model_len)) for text in encoded]


def _prompt(text: str, width: int, max_model_len: int) -> Prompt:
    rows = read_rows(text, width, max_model_len - 1)
    data = rows.tobytes()
    key = blake2b(data, digest_size=_KEY_BYTES).digest()
    embeds = PromptEmbeds(key, data, len(rows))
    return Prompt([_PLACEHOLDER] * len(rows), "", (embeds,), (MediaSpan(0, len(rows), _PLACEHOLDER, key, 0),))


def read_rows(text: str, width: int, max_rows: int) -> NDArray[np.float32]:
    """Decode `text`, base64 or a base64 data URI.

    Returns:
        float32 [1 .. max_rows, width], every value finite.

    Raises:
        InvalidRequestError: it holds anything else.
    """
    try:
        data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _error(f"is not valid base64: {error}") from None
    stored = _of_npy(data) if data.startswith(_NPY) else _of_safetensors(data)
    shape = stored.shape[1:] if len(stored.shape) == 3 and stored.shape[0] == 1 else stored.shape
    if len(shape) != 2 or shape[1] != width or shape[0] < 1:
        raise _error(f"has the shape {list(stored.shape)[:4]}; this model's is [tokens, {width}]")
    if shape[0] > max_rows:
        message = f"{_FIELD} has {shape[0]} rows, but this model's context holds {max_rows} beside one output; shorten it"
        raise InvalidRequestError(message, _FIELD, CONTEXT_LENGTH_EXCEEDED)
    rows = _floats(stored).reshape(shape, order="F" if stored.by_columns else "C")
    if not (np.abs(rows) <= _MOST).all():  # false for NaN
        raise _error(f"has values that are no finite numbers, or beyond {_MOST:.0f}; an embedding's are small")
    return np.ascontiguousarray(rows)


def _floats(stored: _Stored) -> NDArray[np.float32]:
    values = np.frombuffer(stored.data, stored.dtype)
    if stored.dtype == _DTYPES["BF16"]:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def _of_npy(data: bytes) -> _Stored:
    """Only the header goes through numpy's reader: for the data it would take the memory that the header claims."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
    except Exception as error:  # numpy's: of several kinds, for each way of being damaged
        raise _error(f"holds a damaged npy file: {str(error)[:100]}") from None
    return _checked(shape, dtype.str, data[file.tell() :], by_columns=by_columns)


def _of_safetensors(data: bytes) -> _Stored:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 10 or size > min(_MAX_HEADER, len(data) - 8) or data[8:9] != b"{":
        raise _error("is neither a safetensors nor an npy file; pickles (torch.save) are programs and not taken")
    try:
        header = orjson.loads(data[8 : 8 + size])
        (entry,) = (entry for name, entry in header.items() if name != "__metadata__")
        shape, dtype, (begin, end) = tuple(entry["shape"]), entry["dtype"], entry["data_offsets"]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _error("holds a damaged safetensors file, or not just one tensor") from None
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end <= len(data) - 8 - size:
        raise _error("holds a damaged safetensors file: its offsets lie outside of it")
    known = _DTYPES.get(dtype, "") if isinstance(dtype, str) else ""
    return _checked(shape, known, data[8 + size + begin : 8 + size + end])


def _checked(shape: tuple[Any, ...], dtype: str, data: bytes, *, by_columns: bool = False) -> _Stored:
    if dtype not in _DTYPES.values() or (by_columns and dtype == _DTYPES["BF16"]):
        raise _error("has another data type than float32, float16 or bfloat16")
    if any(type(size) is not int or size < 0 for size in shape) or prod(shape) * np.dtype(dtype).itemsize != len(data):
        raise _error(f"has the shape {list(shape)[:4]}, which is not that of its {len(data)} bytes")
    return _Stored(shape, dtype, data, by_columns)


def _error(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"{_FIELD} {what}", _FIELD)
