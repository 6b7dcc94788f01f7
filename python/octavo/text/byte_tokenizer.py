"""A tokenizer for models without one (`load_format=dummy` from a config.json alone): token ids 0 to 255 are bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from octavo.text.chat_template import ChatTemplate
from octavo.text.tokenizer import Detokenizer, check_token_ids, encodable, encode_one

if TYPE_CHECKING:
    from octavo._runtime import TokenTable

__all__ = ["ByteTokenizer"]


class ByteTokenizer:
    """A `Tokenizer`. Ids from 256 on stand for `words`, then for one space each, so that generated text grows with every token."""

    def __init__(self, vocab_size: int, words: Sequence[bytes] = (), chat_template: ChatTemplate | None = None) -> None:
        self._words = words
        self.vocab_size = max(vocab_size, 256 + len(words))
        self.bos_token_id: int | None = None
        self.eos_token_ids: tuple[int, ...] = ()
        self.special_token_ids: frozenset[int] = frozenset()
        self.chat_template = chat_template

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(encodable(text).encode())

    def encode_input(self, text: str, other: str | None = None, *, most: int | None = None) -> tuple[list[int], int | None]:
        return encode_one(self, text, other, most)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        check_token_ids(token_ids, self.vocab_size)
        return b"".join(map(self.token_bytes, token_ids)).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        check_token_ids([token_id], self.vocab_size)
        if token_id < 256:
            return bytes((token_id,))
        return self._words[token_id - 256] if token_id < 256 + len(self._words) else b" "

    def token_text(self, token_id: int) -> str:
        piece = self.token_bytes(token_id)
        return f"<0x{piece[0]:02X}>" if len(piece) == 1 else piece.decode(errors="replace")

    def detokenizer(self, skip_special_tokens: bool = True) -> Detokenizer:
        from octavo._runtime import Detokenizer as TableDetokenizer

        return TableDetokenizer(self._table, skip_special_tokens)

    @cached_property
    def _table(self) -> TokenTable:
        from octavo._runtime import TokenTable

        return TokenTable([self.token_bytes(token_id) for token_id in range(self.vocab_size)], [], False)
