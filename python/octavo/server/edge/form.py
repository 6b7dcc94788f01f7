"""multipart/form-data (RFC 7578) as clients' libraries send it: fields by name, from a body that is read already."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

from octavo.server.edge.errors import ApiError

__all__ = ["parse_form"]

_MOST_PARTS = 64
_MOST_HEADER_BYTES = 8192


def parse_form(content_type: str, body: bytes, files: frozenset[str]) -> dict[str, Any]:
    """Return the fields: bytes of those in `files`, texts of others, lists where a name ends in `[]`.

    Raises:
        ApiError: 415 another media type, 400 a body that is no such form, or a field that is there twice.
    """
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_type() != "multipart/form-data":
        raise ApiError(415, "send the sound as multipart/form-data, with a field `file`", code="unsupported_media_type")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise _broken("Content-Type names no boundary")
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), _MOST_PARTS + 2)
    if len(pieces) > _MOST_PARTS + 2:
        raise _broken(f"it has more than {_MOST_PARTS} parts")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise _broken("its last boundary is missing")
    fields: dict[str, Any] = {}
    for piece in pieces[1:-1]:
        name, value = _part(piece)
        _put(fields, name, value if name in files else _text(name, value))
    return fields


def _part(piece: bytes) -> tuple[str, bytes]:
    line_end = piece.find(b"\r\n")
    head_end = piece.find(b"\r\n\r\n", max(line_end, 0), _MOST_HEADER_BYTES)
    if line_end < 0 or piece[:line_end].strip() or head_end < 0:
        raise _broken("a part has no headers")
    headers = BytesHeaderParser().parsebytes(piece[line_end + 2 : head_end + 4])
    name = headers.get_param("name", header="content-disposition")
    if not isinstance(name, str) or headers.get_content_disposition() != "form-data":
        raise _broken("a part has no name")
    return name, piece[head_end + 4 :]


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    if name.endswith("[]"):
        fields.setdefault(name.removesuffix("[]"), []).append(value)
    elif name in fields:
        raise ApiError(400, f"{name[:40]} is there twice", param=name[:40], code="invalid_value")
    else:
        fields[name] = value


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ApiError(400, f"{name[:40]} is not valid UTF-8", param=name[:40], code="invalid_value") from None


def _broken(why: str) -> ApiError:
    return ApiError(400, f"the request body is not valid multipart/form-data: {why}", code="invalid_form")
