"""Log-probabilities in OpenAI's three shapes: chat, completions (legacy), and `prompt_logprobs`."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from octavo.types import TokenLogprobs

if TYPE_CHECKING:
    from octavo.text.tokenizer import Tokenizer

__all__ = ["CompletionLogprobs", "chat_logprobs", "prompt_logprobs"]

_FLOOR = -9999.0  # JSON has no infinity; OpenAI writes this for a token that cannot occur


def chat_logprobs(tokenizer: Tokenizer, entries: Sequence[TokenLogprobs], *, as_ids: bool) -> dict[str, Any]:
    """Return the `logprobs` object of a chat choice: one entry per token, alternatives best first.

    Args:
        as_ids: name a token `token_id:5`, as vLLM does, so that tokens of equal text stay apart.
    """
    content = [
        _chat_token(tokenizer, entry.token_id, entry.logprob, as_ids)
        | {"top_logprobs": [_chat_token(tokenizer, *top, as_ids) for top in _alternatives(entry, len(entry.top)).items()]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def prompt_logprobs(tokenizer: Tokenizer, entries: Sequence[TokenLogprobs | None]) -> list[dict[str, Any] | None]:
    """Return one object per prompt token, keyed by token id: the prompt's own token and its alternatives; null for the first."""
    return [None if entry is None else _ranked(tokenizer, entry) for entry in entries]


class CompletionLogprobs:
    """The `logprobs` object of a completion choice, over the chunks of a stream.

    `text_offset` counts characters of the choice's text before each token; a token that holds only a part of a character is
    named `bytes:\\xe2\\x80`, as OpenAI does, so that alternatives stay apart.

    Args:
        num_top: alternatives to show; the token itself is always among them.
        echoed: the prompt's text where the choice's text begins with it, else empty.
        skip_special_tokens: whether generated special tokens are left out of the text.
    """

    def __init__(self, tokenizer: Tokenizer, num_top: int, *, echoed: str, skip_special_tokens: bool, as_ids: bool) -> None:
        self._tokenizer = tokenizer
        self._num_top = num_top
        self._as_ids = as_ids
        self._echoed = echoed
        self._skip_special_tokens = skip_special_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def format(self, token_ids: Sequence[int], entries: Sequence[TokenLogprobs | None]) -> dict[str, Any]:
        """Describe the next `token_ids`; an entry None (the first prompt token) has no log-probability."""
        offsets = [self._advance(token_id) for token_id in token_ids]
        return {
            "tokens": [_name(self._tokenizer, token_id, self._as_ids) for token_id in token_ids],
            "token_logprobs": [None if entry is None else max(entry.logprob, _FLOOR) for entry in entries],
            "top_logprobs": [None if entry is None else self._top(entry) for entry in entries],
            "text_offset": offsets,
        }

    def _advance(self, token_id: int) -> int:
        offset = self._offset
        raw = self._tokenizer.token_bytes(token_id)
        if token_id not in self._tokenizer.special_token_ids or self._shows_special(raw):
            self._offset += len(self._decoder.decode(raw))
        return offset

    def _shows_special(self, raw: bytes) -> bool:
        """Whether the special token that comes next is part of the text; one that was added to an echoed prompt is not."""
        if self._offset < len(self._echoed):
            return self._echoed.startswith(raw.decode(errors="replace"), self._offset)
        return not self._skip_special_tokens

    def _top(self, entry: TokenLogprobs) -> dict[str, float]:
        top = _alternatives(entry, self._num_top) | {entry.token_id: entry.logprob}
        return {_name(self._tokenizer, token_id, self._as_ids): max(logprob, _FLOOR) for token_id, logprob in top.items()}


def _alternatives(entry: TokenLogprobs, num_top: int) -> dict[int, float]:
    """Token id -> log-probability: the most probable ones, best first, then those that were asked for by id."""
    return dict(entry.top[:num_top]) | dict(entry.named)


def _chat_token(tokenizer: Tokenizer, token_id: int, logprob: float, as_ids: bool) -> dict[str, Any]:
    raw = tokenizer.token_bytes(token_id)
    return {
        "token": f"token_id:{token_id}" if as_ids else raw.decode(errors="replace"),
        "logprob": max(logprob, _FLOOR),
        "bytes": list(raw),
    }


def _ranked(tokenizer: Tokenizer, entry: TokenLogprobs) -> dict[str, Any]:
    ranked = {token_id: (logprob, rank) for rank, (token_id, logprob) in enumerate(entry.top, start=1)}
    ranked[entry.token_id] = (entry.logprob, entry.rank)
    return {
        str(token_id): {
            "logprob": max(logprob, _FLOOR),
            "rank": rank,
            "decoded_token": tokenizer.token_bytes(token_id).decode(errors="replace"),
        }
        for token_id, (logprob, rank) in ranked.items()
    }


def _name(tokenizer: Tokenizer, token_id: int, as_ids: bool) -> str:
    if as_ids:
        return f"token_id:{token_id}"
    raw = tokenizer.token_bytes(token_id)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
