"""Tokenizers of the `tokenizers` library: tokenizer.json, or built from a GGUF file's vocabulary."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from octavo.errors import InvalidRequestError
from octavo.text import byte_level
from octavo.text.chat_template import ChatTemplate
from octavo.text.tokenizer import Detokenizer, check_token_ids, encodable

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Backend

    from octavo._runtime import TokenTable

__all__ = ["FastTokenizer"]

_SHORT = 2000  # characters, about a millisecond's work
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class FastTokenizer:
    """A `Tokenizer` over a `tokenizers.Tokenizer`."""

    def __init__(
        self,
        backend: Backend,
        *,
        vocab_size: int,
        bos_token_id: int | None,
        eos_token_ids: Iterable[int],
        special_token_ids: Iterable[int],
        chat_template: ChatTemplate | None,
        tokens: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        """
        Args:
            vocab_size: the model's; raised to the tokenizer's where that is larger.
            tokens: returns the text of every id in order; asked of the backend by default, which takes longer.
        """
        self._backend = backend
        _forget_pieces(backend)
        self._tokens = tokens or self._backend_tokens
        self.vocab_size = max(vocab_size, backend.get_vocab_size(with_added_tokens=True))
        self.bos_token_id = bos_token_id
        self.eos_token_ids = tuple(sorted(set(eos_token_ids)))
        self.special_token_ids = frozenset(special_token_ids)
        self.chat_template = chat_template

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        if len(text) <= _SHORT:
            return self._backend.encode(encodable(text), add_special_tokens=add_special_tokens).ids
        [encoding] = self._backend.encode_batch_fast([encodable(text)], add_special_tokens=add_special_tokens)  # lets go of the GIL
        return encoding.ids

    def encode_input(self, text: str, other: str | None = None, *, most: int | None = None) -> tuple[list[int], int | None]:
        texts = [encodable(each) for each in (text, other) if each is not None]
        if most is None and len(texts) == 1:
            return self.encode(text), None
        parts = self._backend.encode_batch(texts, add_special_tokens=False)
        if most is not None:
            _cut(parts, most - self._backend.num_special_tokens_to_add(len(parts) > 1))
        encoding = self._backend.post_process(parts[0], parts[1] if len(parts) > 1 else None)
        types = encoding.type_ids
        return encoding.ids, types.index(1) if 1 in types else None

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        check_token_ids(token_ids, self.vocab_size)
        return self._backend.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def token_bytes(self, token_id: int) -> bytes:
        check_token_ids([token_id], self.vocab_size)
        if self._pieces is None:
            return self._backend.decode([token_id], skip_special_tokens=False).encode()
        return self._pieces[token_id]

    def token_text(self, token_id: int) -> str:
        check_token_ids([token_id], self.vocab_size)
        return self._backend.id_to_token(token_id) or ""

    def detokenizer(self, skip_special_tokens: bool = True) -> Detokenizer:
        if self._table is None:
            return _BackendDetokenizer(self._backend, skip_special_tokens)
        from octavo._runtime import Detokenizer as TableDetokenizer

        return TableDetokenizer(self._table, skip_special_tokens)

    @cached_property
    def _pieces(self) -> list[bytes] | None:
        """The bytes of each token; None where the decoder does more than to join them."""
        kind = _decoder_kind(self._backend)
        if kind is None:
            return None
        tokens = self._tokens()
        pieces = byte_level.token_bytes(tokens) if kind == "byte_level" else [_fallback_bytes(token) for token in tokens]
        return pieces + [b""] * (self.vocab_size - len(pieces))

    @cached_property
    def _table(self) -> TokenTable | None:
        if self._pieces is None:
            return None
        from octavo._runtime import TokenTable

        return TokenTable(self._pieces, sorted(self.special_token_ids), False)

    def _backend_tokens(self) -> list[str]:
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        tokens = [""] * (max(vocabulary.values(), default=-1) + 1)
        for text, token_id in vocabulary.items():
            tokens[token_id] = text
        return tokens


def _forget_pieces(backend: Backend) -> None:
    """Switch off the library's cache of how pieces of text were tokenized, where nothing splits a text into words first.

    The cache keeps the first 10,000 pieces that it sees, up to 8 KiB each and for good. Words make that a megabyte, and encoding a quarter
    faster; where a whole prompt is one piece (Llama 2), it never hits and a server grows by its first prompts.
    """
    from tokenizers import models

    if isinstance(backend.model, (models.BPE, models.Unigram)) and not _splits(backend):
        backend.model._resize_cache(0)


def _cut(parts: list[Encoding], most: int) -> None:
    """Cut the ends off until all have `most` tokens together: the longer one first, then both by turns."""
    if most < len(parts):
        raise InvalidRequestError("truncate_prompt_tokens leaves no room beside the special tokens; raise it", "truncate_prompt_tokens")
    lengths = [len(part) for part in parts]
    while sum(lengths) > most:
        longest = lengths.index(max(lengths))
        rest = sum(lengths) - lengths[longest]
        level = max((length for index, length in enumerate(lengths) if index != longest), default=0)
        lengths[longest] = max(most - rest, min(level, lengths[longest] - 1))
    for part, length in zip(parts, lengths, strict=True):
        part.truncate(length)


def _splits(backend: Backend) -> bool:
    """Whether words become pieces of their own. Gemma's splits at spaces, of which its normalizer leaves none."""
    if backend.pre_tokenizer is None:
        return False
    words = "one two three"
    text = words if backend.normalizer is None else backend.normalizer.normalize_str(words)
    return len(backend.pre_tokenizer.pre_tokenize_str(text)) > 1


def _decoder_kind(backend: Backend) -> str | None:
    """`byte_level`, `byte_fallback` (SentencePiece's way), or None for any other decoder."""
    if backend.decoder is None:
        return None
    state = json.loads(backend.decoder.__getstate__())
    steps = [step for step in state.get("decoders", [state]) if step["type"] not in ("Fuse", "Strip")]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return "byte_level"
    replaces_space = kinds == ["Replace", "ByteFallback"] and steps[0]["pattern"] == {"String": "▁"} and steps[0]["content"] == " "
    return "byte_fallback" if replaces_space else None


def _fallback_bytes(token: str) -> bytes:
    match = _BYTE_TOKEN.fullmatch(token)
    return bytes.fromhex(match[1]) if match else token.replace("▁", " ").encode()


class _BackendDetokenizer:
    """The library's own streaming decoder, for decoders that are no plain table of bytes."""

    def __init__(self, backend: Backend, skip_special_tokens: bool) -> None:
        from tokenizers.decoders import DecodeStream

        self._backend = backend
        self._skip_special_tokens = skip_special_tokens
        self._stream = DecodeStream(skip_special_tokens=skip_special_tokens)
        self._token_ids: list[int] = []
        self._emitted = 0

    def push(self, token_ids: Sequence[int]) -> str:
        self._token_ids += token_ids
        text = "".join(self._stream.step(self._backend, token_id) or "" for token_id in token_ids)
        self._emitted += len(text)
        return text

    def finish(self) -> str:
        whole = self._backend.decode(self._token_ids, skip_special_tokens=self._skip_special_tokens)
        held_back, self._emitted = whole[self._emitted :], len(whole)
        return held_back
