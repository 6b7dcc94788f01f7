"""Writes a SentencePiece model (protobuf `sentencepiece_model.proto`) from a vocabulary, without a protobuf library.

Wire format: a field is a key (number << 3 | type) and a value; type 0 is a varint, 2 a length and bytes, 5 four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

__all__ = ["BYTE", "CONTROL", "NORMAL", "UNKNOWN", "UNUSED", "USER_DEFINED", "model_proto"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_BPE = 2  # TrainerSpec.ModelType
_float32 = struct.Struct("<f").pack


def model_proto(pieces: Iterable[tuple[str, float, int]], *, add_dummy_prefix: bool, remove_extra_whitespaces: bool) -> bytes:
    """Return a serialised ModelProto of byte-pair kind.

    Args:
        pieces: (text, score, type) in order of id; exactly one is UNKNOWN.
        add_dummy_prefix: text is encoded as if it began with a space.
        remove_extra_whitespaces: runs of spaces become one.
    """
    kinds = set()
    parts = []
    for text, score, kind in pieces:
        kinds.add(kind)
        body = _bytes_field(1, text.encode()) + b"\x15" + _float32(score) + bytes((0x18, kind))
        parts.append(_bytes_field(1, body))
    trainer = _varint_field(3, _BPE) + _varint_field(35, BYTE in kinds)
    normalizer = _bytes_field(1, b"identity") + _varint_field(3, add_dummy_prefix)
    normalizer += _varint_field(4, remove_extra_whitespaces) + _varint_field(5, True)
    return b"".join([*parts, _bytes_field(2, trainer), _bytes_field(3, normalizer)])


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(int(value))


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value
