"""Sampling parameters in the runner's terms: numbers only, one `RowSampling` per choice."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from octavo.engine.beams import num_best
from octavo.step import RowSampling
from octavo.types import DrawParams, SamplingParams

if TYPE_CHECKING:
    from octavo.text.tokenizer import Tokenizer

__all__ = ["row_samplings"]

_SEED_MASK = (1 << 64) - 1


def row_samplings(
    params: SamplingParams, tokenizer: Tokenizer, vocab_size: int, drawn_seed: int, end_token_ids: frozenset[int] = frozenset()
) -> tuple[RowSampling, ...]:
    """One per choice, or per beam. `drawn_seed` (unsigned, 64 bits) serves a request that names no seed."""
    if params.beam_width is not None:
        num_logprobs = num_best(params, end_token_ids, vocab_size)
        first = RowSampling(min_tokens=params.min_tokens, num_logprobs=num_logprobs, num_prompt_logprobs=params.prompt_logprobs)
        return (first, *[replace(first, num_prompt_logprobs=None)] * (params.beam_width - 1))
    first = RowSampling(
        **{field.name: getattr(params, field.name) for field in fields(DrawParams)},
        seed=(drawn_seed if params.seed is None else params.seed) & _SEED_MASK,
        logit_bias=tuple(params.logit_bias.items()),
        bad_words=_bad_word_tokens(params.bad_words, tokenizer),
        blocked_until_min=_blocked_until_min(params, tokenizer, vocab_size),
        num_logprobs=params.logprobs,
        named_token_ids=params.logprob_token_ids,
        num_prompt_logprobs=params.prompt_logprobs,
    )
    others = (replace(first, choice=choice, num_prompt_logprobs=None) for choice in range(1, params.n))
    return (first, *others)


def _blocked_until_min(params: SamplingParams, tokenizer: Tokenizer, vocab_size: int) -> tuple[int, ...]:
    """A tokenizer may know end tokens that its model cannot draw: there is nothing to block in them."""
    if params.min_tokens == 0:
        return ()
    eos_token_ids = () if params.ignore_eos else tokenizer.eos_token_ids
    return tuple(sorted({*(token_id for token_id in eos_token_ids if token_id < vocab_size), *params.stop_token_ids}))


def _bad_word_tokens(bad_words: tuple[str, ...], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """A word inside a text is usually tokenised with the space before it, so both spellings are barred."""
    spellings = (spelling for word in bad_words for spelling in (word, " " + word.lstrip()))
    sequences = (tuple(tokenizer.encode(spelling, add_special_tokens=False)) for spelling in spellings)
    return tuple(dict.fromkeys(sequence for sequence in sequences if sequence))
