"""Cuts a text at special tokens that are written out in it, longest first at each place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["SpecialSplitter"]


class SpecialSplitter:
    """Gemma 3 has 6,000 special tokens: candidates are found by first character and looked up by length, not by one huge expression."""

    def __init__(self, special_tokens: Mapping[str, int]) -> None:
        """special_tokens: text -> id."""
        self._ids = {text: token_id for text, token_id in special_tokens.items() if text}
        self._lengths = sorted({len(text) for text in self._ids}, reverse=True)
        first = "".join(sorted({text[0] for text in self._ids}))
        self._candidate = re.compile(f"[{re.escape(first)}]" if first else r"(?!)")

    def split(self, text: str) -> Iterator[str | int]:
        """Yield pieces of text, none of them empty, and ids of special tokens, in order."""
        begin = position = 0
        while match := self._candidate.search(text, position):
            start = match.start()
            end = self._end_of_token(text, start)
            position = start + 1 if end is None else end
            if end is not None:
                if start > begin:
                    yield text[begin:start]
                yield self._ids[text[start:end]]
                begin = end
        if begin < len(text):
            yield text[begin:]

    def _end_of_token(self, text: str, start: int) -> int | None:
        return next((start + length for length in self._lengths if text[start : start + length] in self._ids), None)
