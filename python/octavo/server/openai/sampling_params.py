"""From a validated body to `SamplingParams`."""

from __future__ import annotations

from dataclasses import fields, replace

from octavo.errors import InvalidRequestError
from octavo.server.openai.protocol import GenerationBody
from octavo.server.openai.structured import grammar_of
from octavo.types import SamplingParams

__all__ = ["sampling_params", "with_grammar"]

_SEED_MASK = 2**64 - 1  # negative seeds, which OpenAI allows, become their two's complement
_LIKE_NAMED = GenerationBody.model_fields.keys() & {field.name for field in fields(SamplingParams)}


def sampling_params(body: GenerationBody, *, max_tokens: int | None, logprobs: int | None, prompt_logprobs: int | None) -> SamplingParams:
    """Return the sampling parameters that `body` asks for; `InvalidRequestError` names a field that is out of range."""
    like_named = {name: getattr(body, name) for name in _LIKE_NAMED}
    if body.num_drawn > body.n and logprobs is None:
        logprobs = 0  # the best are found by them
    made = {
        "n": body.num_drawn,
        "max_tokens": max_tokens,
        "seed": None if body.seed is None else body.seed & _SEED_MASK,
        "logit_bias": {_token_id(key): bias for key, bias in body.logit_bias.items()},
        "logprobs": logprobs,
        "prompt_logprobs": prompt_logprobs,
        "beam_width": body.beam_width,
    }
    return SamplingParams(**{**like_named, **made})


def with_grammar(body: GenerationBody, params: SamplingParams, forced: tuple[str, str] | None = None) -> tuple[SamplingParams, str]:
    """Return `params` with the grammar that `body` asks for, and the field that asks for it.

    `forced`: a grammar that holds in the place of the body's, and its field.
    """
    grammar, field = forced or grammar_of(body.response_format, body.structured_outputs) or (None, "grammar")
    return params if grammar == params.grammar else replace(params, grammar=grammar), field


def _token_id(key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= 10):
        raise InvalidRequestError(f"logit_bias: the key {key!r} is not a token id", "logit_bias")
    return int(key)
