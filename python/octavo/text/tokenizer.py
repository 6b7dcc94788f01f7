"""`Tokenizer`: text to token ids and back, whatever library does the work; `Detokenizer`: the same incrementally."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from octavo.errors import InvalidRequestError
from octavo.text.chat_template import ChatTemplate

__all__ = ["Detokenizer", "Tokenizer", "check_token_ids", "encodable", "encode_one"]


class Detokenizer(Protocol):
    """Text of one growing sequence. The pieces never end inside a character."""

    def push(self, token_ids: Sequence[int]) -> str:
        """Take new tokens and return the text that they complete, perhaps none."""
        ...

    def finish(self) -> str:
        """Return what is still held back, with broken characters as U+FFFD."""
        ...


class Tokenizer(Protocol):
    """Attributes:
    vocab_size: ids are below this; at least the model's own vocab_size, which may count ids that no token has.
    bos_token_id: begin-of-sequence token, or None.
    eos_token_ids: tokens that end a generation, ascending.
    special_token_ids: tokens that mark structure and are no text.
    chat_template: None for models that were not trained to chat.
    """

    vocab_size: int
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    special_token_ids: frozenset[int]
    chat_template: ChatTemplate | None

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a text. Special tokens written out in it are recognised.

        Args:
            add_special_tokens: put the begin- and end-of-sequence tokens where the model expects them.

        Raises:
            InvalidRequestError: the text holds a lone surrogate, which no UTF-8 can express.
        """
        ...

    def encode_input(self, text: str, other: str | None = None, *, most: int | None = None) -> tuple[list[int], int | None]:
        """Return the ids of what a model makes vectors of, with its special tokens: a text, or a pair of texts.

        Args:
            most: tokens that are kept; the end of the text, or of the longer one of the two, is cut off. None: all.

        Returns:
            The ids, and where those of token type 1 begin; None where there are none.

        Raises:
            InvalidRequestError: a text holds a lone surrogate, or the tokenizer joins no pairs.
        """
        ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of ids, with broken characters as U+FFFD. Raises InvalidRequestError for an id outside the vocabulary."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """What one token stands for, maybe a part of a character; empty for an id that no token has."""
        ...

    def token_text(self, token_id: int) -> str:
        """One token as the vocabulary spells it (a space may be `Ġ` or `▁`); empty for an id that no token has."""
        ...

    def detokenizer(self, skip_special_tokens: bool = True) -> Detokenizer:
        """Return a detokenizer for tokens that continue a prompt: unlike in `decode`, a first space is text and stays."""
        ...


def check_token_ids(token_ids: Sequence[int], vocab_size: int) -> None:
    """Raise InvalidRequestError for an id outside 0 .. vocab_size - 1."""
    if token_ids and not (min(token_ids) >= 0 and max(token_ids) < vocab_size):
        bad = next(token_id for token_id in token_ids if not 0 <= token_id < vocab_size)
        raise InvalidRequestError(f"token id {bad} is outside the vocabulary of {vocab_size} tokens")


def encode_one(tokenizer: Tokenizer, text: str, other: str | None, most: int | None) -> tuple[list[int], int | None]:
    """`Tokenizer.encode_input` of tokenizers that know no pairs."""
    if other is not None:
        raise InvalidRequestError("this model's tokenizer joins no pairs of texts: its folder needs a tokenizer.json")
    token_ids = tokenizer.encode(text)
    return (token_ids if most is None else token_ids[:most]), None


def encodable(text: str) -> str:
    """Return the text. Raises InvalidRequestError when it holds a lone surrogate (JSON can smuggle one in as an escape)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"the text holds a lone surrogate at character {error.start}; it is not valid Unicode") from error
    return text
