"""Grammars checked and compiled, once each: the front does it before a request is queued, the runner takes copies."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from octavo.errors import InvalidRequestError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["GrammarCompiler"]

_CACHED = 256
# Bounds of llguidance's work, in its units: about 20 ms for a grammar's beginning, 15 ms for a mask.
_INITIAL_FUEL, _STEP_FUEL, _MAX_GRAMMAR_SIZE = 1_000_000, 200_000, 500_000


class Vocabulary(Protocol):
    """What a grammar must know of a tokenizer (`octavo.text.Tokenizer` is one)."""

    vocab_size: int
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    special_token_ids: frozenset[int]

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]: ...
    def token_bytes(self, token_id: int) -> bytes: ...


class GrammarCompiler:
    """Compiles grammars for one vocabulary. Any thread may call; the library lets go of the GIL while it compiles.

    Args:
        vocab_size: the model's: masks have this many bits.
    """

    def __init__(self, vocabulary: Vocabulary, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._vocabulary = vocabulary
        self._eos_token_ids = [token_id for token_id in vocabulary.eos_token_ids if token_id < vocab_size]  # that the model can draw
        self._lock = Lock()
        self._made: LLTokenizer | None = None
        self._compiled: OrderedDict[bytes, LLMatcher] = OrderedDict()

    def check(self, grammar: str, field: str) -> None:
        """Compile a grammar now. Takes milliseconds, at most about a second: call it off the event loop.

        Raises:
            InvalidRequestError: the grammar is wrong, too large, or nothing satisfies it, or the model cannot end a text; names the field.
        """
        if not self._eos_token_ids:
            raise InvalidRequestError(f"{field}: the model has no end-of-sequence token, with which structured output ends", field)
        key = _key(grammar)
        if self._cached(key) is not None:
            return
        matcher = self._new(grammar)
        if matcher.is_error():
            raise InvalidRequestError(f"{field}: the grammar cannot be used: {_first_lines(matcher.get_error())}", field)
        with self._lock:
            self._compiled[key] = matcher
            while len(self._compiled) > _CACHED:
                self._compiled.popitem(last=False)

    def matcher(self, grammar: str) -> LLMatcher:
        """A matcher at the beginning of a grammar that was checked."""
        compiled = self._cached(_key(grammar))
        return self._new(grammar) if compiled is None else compiled.deep_copy()

    def _cached(self, key: bytes) -> LLMatcher | None:
        with self._lock:
            if key in self._compiled:
                self._compiled.move_to_end(key)
            return self._compiled.get(key)

    def _new(self, grammar: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(initial_lexer_fuel=_INITIAL_FUEL, step_lexer_fuel=_STEP_FUEL, max_grammar_size=_MAX_GRAMMAR_SIZE)
        return LLMatcher(self._tokenizer(), grammar, log_level=0, limits=limits)

    def _tokenizer(self) -> LLTokenizer:
        """Made at the first grammar: it takes half a second for 50,000 tokens."""
        with self._lock:
            if self._made is None:
                from llguidance import LLTokenizer, TokenizerWrapper

                adapter = TokenizerWrapper(_Adapter(self._vocabulary, self.vocab_size, self._eos_token_ids[0]))
                self._made = LLTokenizer(adapter, n_vocab=self.vocab_size, eos_token=self._eos_token_ids)
            return self._made


class _Adapter:
    """A vocabulary in the shape that llguidance asks for."""

    def __init__(self, vocabulary: Vocabulary, vocab_size: int, eos_token_id: int) -> None:
        self._vocabulary = vocabulary
        self.eos_token_id = eos_token_id
        self.bos_token_id = vocabulary.bos_token_id
        self.special_token_ids: Sequence[int] = sorted(vocabulary.special_token_ids)
        known = min(vocab_size, vocabulary.vocab_size)
        # Ids that the model has beyond its tokenizer's stand for nothing: no grammar takes them, but masks have bits for them.
        self.tokens = [vocabulary.token_bytes(token_id) for token_id in range(known)] + [b""] * (vocab_size - known)

    def __call__(self, text: Any) -> list[int]:
        text = text.decode("utf-8", errors="ignore") if isinstance(text, bytes) else text
        return self._vocabulary.encode(text, add_special_tokens=False)


def _key(grammar: str) -> bytes:
    return hashlib.sha256(grammar.encode()).digest()


def _first_lines(message: str) -> str:
    return " ".join(line.strip() for line in message.strip().splitlines()[:6])[:400]
