"""The byte-level alphabet of GPT-2: every byte is written as one printable character, so that a vocabulary is plain text.

Printable Latin-1 characters stand for themselves; the other 68 bytes for U+0100 upwards, in order
(Radford et al. 2019, the released `encoder.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["token_bytes"]


def _byte_of_character() -> dict[int, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: byte for byte in printable} | {0x100 + index: byte for index, byte in enumerate(others)}


def token_bytes(tokens: Iterable[str]) -> list[bytes]:
    """The bytes of each token. A token with a character outside the alphabet (an added token) stands for its own UTF-8."""
    bytes_of = _byte_of_character()
    # translate() leaves unknown characters alone; these would pass for bytes if they are Latin-1, so they are moved out of the way
    table = {code: 0x10FFFF for code in range(256) if code not in bytes_of} | bytes_of
    return [_encoded(token, table) for token in tokens]


def _encoded(token: str, table: dict[int, int]) -> bytes:
    try:
        return token.translate(table).encode("latin-1")
    except UnicodeEncodeError:
        return token.encode()
