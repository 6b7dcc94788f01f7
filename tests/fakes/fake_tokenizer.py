"""A toy tokenizer: one token per UTF-8 byte, then two special tokens. Implements `octavo.text.tokenizer.Tokenizer`."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

__all__ = ["BOS", "EOS", "FakeTokenizer"]

BOS = 256
EOS = 257


class FakeTokenizer:
    vocab_size = 258
    bos_token_id: int | None = BOS
    eos_token_ids: tuple[int, ...] = (EOS,)
    special_token_ids = frozenset({BOS, EOS})
    chat_template = None

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [*([BOS] if add_special_tokens else []), *text.encode()]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return b"".join(_piece(token_id, skip_special_tokens) for token_id in token_ids).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        return _piece(token_id, skip_special=False)

    def token_text(self, token_id: int) -> str:
        return f"<{token_id}>"

    def detokenizer(self, skip_special_tokens: bool = True) -> FakeDetokenizer:
        return FakeDetokenizer(skip_special_tokens)


class FakeDetokenizer:
    def __init__(self, skip_special_tokens: bool) -> None:
        self._skip_special_tokens = skip_special_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_ids: Sequence[int]) -> str:
        return "".join(self._decoder.decode(_piece(token_id, self._skip_special_tokens)) for token_id in token_ids)

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


def _piece(token_id: int, skip_special: bool) -> bytes:
    if token_id < 256:
        return bytes([token_id])
    return b"" if skip_special else {BOS: b"<s>", EOS: b"</s>"}[token_id]
