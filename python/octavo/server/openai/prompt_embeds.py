"""`prompt_embeds`: embeddings that a client computed itself, as base64 of a safetensors or npy file, in place of a prompt's tokens.

Pickles, which `torch.save` writes and other servers read, are programs: they are refused.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from octavo.engine.embeds import FIELD, embedded_prompt, embeds_width, rows_of
from octavo.errors import InvalidRequestError
from octavo.server.edge.generation import Prompt

if TYPE_CHECKING:
    from octavo.engine.model_info import ModelInfo
    from octavo.server.edge.context import ServerContext

__all__ = ["embedded_prompts"]

_MAX_HEADER = 64 * 1024  # bytes of a safetensors file's
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
    if encoded:
        embeds_width(info)
    return [await context.workers.run(len(text), partial(_prompt, text, info)) for text in encoded]


def _prompt(text: str, info: ModelInfo) -> Prompt:
    made = embedded_prompt(_values(text, info), info)
    return Prompt(made.token_ids, "", made.pictures, made.media)


def _values(text: str, info: ModelInfo) -> NDArray[np.float32]:
    """Decode `text`, base64 or a base64 data URI, to float32 of the file's shape, which is the model's."""
    try:
        data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _error(f"is not valid base64: {error}") from None
    stored = _of_npy(data) if data.startswith(_NPY) else _of_safetensors(data)
    shape = rows_of(stored.shape, info)
    return _floats(stored).reshape(shape, order="F" if stored.by_columns else "C")


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
    return InvalidRequestError(f"{FIELD} {what}", FIELD)
