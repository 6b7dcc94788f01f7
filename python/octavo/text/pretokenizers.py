"""How text is cut before byte-pair merging, by the name in a GGUF file's `tokenizer.ggml.pre`.

Each entry gives what the model's own tokenizer.json says; the expressions are those published with the models
(GPT-2, Llama 3, Qwen2, Mistral's Tekken, GPT-4o).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer

__all__ = ["PRETOKENIZERS", "Pretokenizer"]

_LETTERS = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_CAPITALS = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _llama3_like(digits: str) -> str:
    return rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"


def _cased(contractions: str, digits: str) -> str:
    word = (
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_CAPITALS}]*[{_LETTERS}]+{contractions}|[^\r\n\p{{L}}\p{{N}}]?[{_CAPITALS}]+[{_LETTERS}]*{contractions}"
    )
    return rf"{word}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"


@dataclass(frozen=True, slots=True)
class Pretokenizer:
    """Attributes:
    expression: cut at its matches; None: GPT-2's own rule.
    single_digits: every digit is a piece of its own.
    ignore_merges: a piece that is a token is taken whole, whatever the merges say.
    normalize_nfc: text is brought into Unicode normal form C first.
    add_bos: whether a prompt begins with the begin-of-sequence token when the file does not say.
    """

    expression: str | None = None
    single_digits: bool = False
    ignore_merges: bool = False
    normalize_nfc: bool = False
    add_bos: bool = False

    def build(self) -> PreTokenizer:
        """Return the `tokenizers` object."""
        from tokenizers import Regex, pre_tokenizers

        steps: list[PreTokenizer] = [pre_tokenizers.Digits(individual_digits=True)] if self.single_digits else []
        if self.expression is not None:
            steps.append(pre_tokenizers.Split(Regex(self.expression), "isolated"))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=self.expression is None))
        return pre_tokenizers.Sequence(steps)


_GPT2 = Pretokenizer()
_GPT2_DIGITS = Pretokenizer(single_digits=True)
_LLAMA3 = Pretokenizer(_llama3_like(r"\p{N}{1,3}"), ignore_merges=True, add_bos=True)
_QWEN2 = Pretokenizer(_llama3_like(r"\p{N}"), normalize_nfc=True)
_TEKKEN = Pretokenizer(_cased("", r"\p{N}"), ignore_merges=True, add_bos=True)
_GPT4O = Pretokenizer(_cased(f"{_CONTRACTIONS}?", r"\p{N}{1,3}"))

# `default` is what converters write for a tokenizer that they take for GPT-2's
PRETOKENIZERS: dict[str, Pretokenizer] = {
    "default": _GPT2,
    "gpt-2": _GPT2,
    "phi-2": _GPT2,
    "mpt": _GPT2,
    "olmo": _GPT2,
    "smollm": _GPT2_DIGITS,
    "starcoder": _GPT2_DIGITS,
    "refact": _GPT2_DIGITS,
    "command-r": _GPT2_DIGITS,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama-bpe": _LLAMA3,
    "falcon3": _LLAMA3,
    "smaug-bpe": Pretokenizer(_llama3_like(r"\p{N}{1,3}")),
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _TEKKEN,
    "gpt-4o": _GPT4O,
}
