"""The bytes of a request body: read under a deadline, unpacked as they arrive, never more of them than the limit.

aiohttp is told not to unpack (`octavo.server.serve.make_runner`): it counts what a read unpacked only once that is in memory, and takes
the end of the connection for the end of a gzip stream. Codings: RFC 9110, section 8.4.1.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["read_raw_body"]

_MEDIA_FACTOR = 8  # a body may be this many times `max_body_bytes` where media make up the rest
_LONG_STRING = 64 * 1024
_MEDIA = re.compile(rb'"data:|"(?:data|prompt_embeds)"\s*:\s*"')  # data URIs, and base64 in Anthropic's images and in completions
_PIECE = 256 * 1024  # bytes unpacked before other requests get a turn
_BYTES_PER_S = 64 * 1024  # a body that arrives slower than this uses up its deadline
_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read_raw_body(request: web.Request, *, is_media: bool = False) -> bytes:
    """Return the unpacked body.

    It may have `max_body_bytes`, and eight times as many where media of at least 64 KiB each (`_MEDIA`) are not counted, or where
    `is_media` says that nearly all of it is a file.

    Raises:
        ApiError: 413 too large (before reading, where the client states the length), 408 too slow, 415 an unknown Content-Encoding,
            400 a body that is not what its Content-Encoding says.
    """
    config = request.app[CONTEXT].config
    most = config.max_body_bytes * _MEDIA_FACTOR
    if (request.content_length or 0) > most:
        raise _too_large(f"the request body has {request.content_length} bytes", config.max_body_bytes)
    body = bytearray()
    unpacker = _unpacker(request.headers.get("Content-Encoding", ""))
    async with _Deadline(config.body_timeout_s) as deadline:
        async for chunk in request.content.iter_any():
            deadline.extend(len(chunk) / _BYTES_PER_S)
            for piece in [chunk] if unpacker is None else unpacker.pieces(chunk):
                body += piece
                if len(body) > most:
                    raise _too_large("the request body is too large", config.max_body_bytes)
                if len(piece) == _PIECE:
                    await asyncio.sleep(0)
    if unpacker is not None:
        unpacker.finish()
    if not is_media and len(body) > config.max_body_bytes and len(body) - _media_bytes(body) > config.max_body_bytes:
        raise _too_large(f"the request body has {len(body)} bytes", config.max_body_bytes)
    return bytes(body)


def _too_large(what: str, limit: int) -> ApiError:
    message = f"{what}; the server takes at most {limit}, data URIs not counted (--max-body-bytes)"
    return ApiError(413, message, code="body_too_large")


def _media_bytes(body: bytearray) -> int:
    """Return how many bytes of `body` are long media: plain ASCII, so that they take no more memory as text."""
    total = end = 0
    while (begins := _MEDIA.search(body, end)) is not None and (end := body.find(b'"', begins.end())) >= 0:
        start = begins.end()
        if end - start >= _LONG_STRING and body.find(b"\\", start, end) < 0 and body[start:end].isascii():
            total += end - start
        end += 1
    return total


class _Deadline:
    """`asyncio.timeout` for Python 3.10 too, whose end moves while the client sends; 408 when it has passed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._passed = False

    async def __aenter__(self) -> _Deadline:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._at = self._loop.time() + self._seconds
        self._timer = self._loop.call_at(self._at, self._expire)
        return self

    def extend(self, seconds: float) -> None:
        """Move the end."""
        self._at += seconds

    def _expire(self) -> None:
        if self._loop.time() < self._at:
            self._timer = self._loop.call_at(self._at, self._expire)
            return
        self._passed = True
        assert self._task is not None
        self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._passed and kind is asyncio.CancelledError:
            message = "the request body did not arrive in time (--body-timeout-s)"
            raise ApiError(408, message, code="request_timeout", headers={"Connection": "close"}) from None


def _unpacker(coding: str) -> _Unpacker | None:
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding not in _WBITS:
        raise ApiError(415, f"Content-Encoding {coding!r} is not supported; send gzip, deflate or none", code="unsupported_encoding")
    return _Unpacker(coding)


class _Unpacker:
    """Unpacks a body in pieces of at most `_PIECE` bytes."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._inflate: zlib._Decompress | None = None

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Yield what `packed`, the next bytes of the body, unpacks to."""
        if self._inflate is None:
            self._inflate = zlib.decompressobj(self._wbits(packed))
        while packed:
            if self._inflate.eof:
                raise self._broken("has bytes after its end")
            try:
                piece = self._inflate.decompress(packed, _PIECE)
            except zlib.error:
                raise self._broken("is something else") from None
            packed = self._inflate.unconsumed_tail or self._inflate.unused_data
            yield piece

    def finish(self) -> None:
        """Raise `ApiError` 400 where the stream is cut off."""
        if self._inflate is None or not self._inflate.eof:
            raise self._broken("is cut off")

    def _wbits(self, packed: bytes) -> int:
        """Many clients send `deflate` without zlib's header, whose first byte is 0x78 in nearly all that have it."""
        raw = self._coding == "deflate" and packed[0] & 0x0F != 8
        return -15 if raw else _WBITS[self._coding]

    def _broken(self, how: str) -> ApiError:
        message = f"the request body is said to be {self._coding} (Content-Encoding), but {how}"
        return ApiError(400, message, code="invalid_encoding", headers={"Connection": "close"})
