"""Tokenizers of the `sentencepiece` library: tokenizer.model, or built from a GGUF file's vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from octavo.text.chat_template import ChatTemplate
from octavo.text.special_splitter import SpecialSplitter
from octavo.text.tokenizer import Detokenizer, check_token_ids, encodable, encode_one

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

    from octavo._runtime import TokenTable

__all__ = ["SentencePieceTokenizer"]


class SentencePieceTokenizer:
    """A `Tokenizer` over a `SentencePieceProcessor`, which itself never reads special tokens out of text."""

    def __init__(
        self,
        processor: SentencePieceProcessor,
        *,
        vocab_size: int,
        bos_token_id: int | None,
        eos_token_id: int | None,
        eos_token_ids: Iterable[int],
        added_tokens: Mapping[str, int],
        special_token_ids: Iterable[int],
        add_bos: bool,
        add_eos: bool,
        strip_leading_space: bool,
        chat_template: ChatTemplate | None,
    ) -> None:
        """
        Args:
            eos_token_id: the one that `add_eos` appends.
            eos_token_ids: those that end a generation.
            added_tokens: text -> id of tokens that are recognised in text before the processor sees it.
            special_token_ids: the ids that are no text.
            strip_leading_space: the processor puts a space before a text, which decoding takes away.
        """
        self._processor = processor
        self._splitter = SpecialSplitter(added_tokens)
        self._added_texts = {token_id: text for text, token_id in added_tokens.items()}
        self._prefix = [bos_token_id] if add_bos and bos_token_id is not None else []
        self._suffix = [eos_token_id] if add_eos and eos_token_id is not None else []
        self._strip_leading_space = strip_leading_space
        self.vocab_size = max([vocab_size, processor.get_piece_size(), *(token_id + 1 for token_id in added_tokens.values())])
        self.bos_token_id = bos_token_id
        self.eos_token_ids = tuple(sorted(set(eos_token_ids)))
        self.special_token_ids = frozenset(special_token_ids)
        self.chat_template = chat_template

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        token_ids: list[int] = []
        for piece in self._splitter.split(encodable(text)):
            if isinstance(piece, int):
                token_ids.append(piece)
            else:
                token_ids += self._processor.encode(piece, out_type=int)
        return [*self._prefix, *token_ids, *self._suffix] if add_special_tokens else token_ids

    def encode_input(self, text: str, other: str | None = None, *, most: int | None = None) -> tuple[list[int], int | None]:
        return encode_one(self, text, other, most)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        check_token_ids(token_ids, self.vocab_size)
        skipped = self.special_token_ids if skip_special_tokens else ()
        data = b"".join(self._pieces[token_id] for token_id in token_ids if token_id not in skipped)
        return data.decode(errors="replace").removeprefix(" " if self._strip_leading_space else "")

    def token_bytes(self, token_id: int) -> bytes:
        check_token_ids([token_id], self.vocab_size)
        return self._pieces[token_id]

    def token_text(self, token_id: int) -> str:
        check_token_ids([token_id], self.vocab_size)
        return self._processor.id_to_piece(token_id) if token_id < self._processor.get_piece_size() else ""

    def detokenizer(self, skip_special_tokens: bool = True) -> Detokenizer:
        from octavo._runtime import Detokenizer as TableDetokenizer

        return TableDetokenizer(self._table, skip_special_tokens)

    @cached_property
    def _pieces(self) -> list[bytes]:
        """The bytes of each id."""
        ids = list(range(self._processor.get_piece_size()))
        texts = self._processor.id_to_piece(ids)
        pieces = [
            bytes((int(text[3:5], 16),)) if is_byte else text.replace("▁", " ").encode()
            for text, is_byte in zip(texts, self._processor.is_byte(ids), strict=True)
        ]
        pieces += [b""] * (self.vocab_size - len(pieces))
        for token_id, text in self._added_texts.items():
            pieces[token_id] = text.encode()
        return pieces

    @cached_property
    def _table(self) -> TokenTable:
        from octavo._runtime import TokenTable

        return TokenTable(self._pieces, sorted(self.special_token_ids), False)
