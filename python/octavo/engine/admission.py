"""Whether a request can ever be served, decided before it is queued."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral

from octavo.engine.model_info import ModelInfo
from octavo.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequestError
from octavo.step import RowSampling
from octavo.types import GenerationRequest, SamplingParams

__all__ = ["admit", "check_constraints"]


def admit(request: GenerationRequest, info: ModelInfo, max_sequence_length: int) -> int:
    """Check a request against the model and the KV cache; returns how many tokens each choice may have.

    `max_sequence_length`: most tokens of a sequence that the scheduler can hold, <= info.max_model_len.

    Raises:
        InvalidRequestError: naming the field, where no amount of waiting would help.
    """
    _check_prompt(request.prompt_token_ids, info, max_sequence_length)
    _check_token_ids(request.params, info.vocab_size)
    params = request.params
    room = max_sequence_length - len(request.prompt_token_ids)
    if params.max_tokens is not None and params.max_tokens > room:
        raise InvalidRequestError(
            f"max_tokens is {params.max_tokens}, but {_limit(info, max_sequence_length)}, of which the prompt takes "
            f"{len(request.prompt_token_ids)}; lower max_tokens to {room}, or leave it out",
            "max_tokens",
            CONTEXT_LENGTH_EXCEEDED,
        )
    if params.min_tokens > room:
        raise InvalidRequestError(f"min_tokens is {params.min_tokens}, but there is room for {room} tokens after the prompt", "min_tokens")
    return room if params.max_tokens is None else params.max_tokens


def _check_prompt(prompt_token_ids: list[int], info: ModelInfo, max_sequence_length: int) -> None:
    if not prompt_token_ids:
        raise InvalidRequestError("the prompt is empty; give at least one token", "prompt")
    num_tokens = len(prompt_token_ids)
    if num_tokens + 1 > max_sequence_length:
        limit = _limit(info, max_sequence_length)
        raise InvalidRequestError(
            f"the prompt has {num_tokens} tokens, but {limit}, one of them for the output; shorten it", "prompt", CONTEXT_LENGTH_EXCEEDED
        )
    _check_range("prompt", prompt_token_ids, info.vocab_size)


def _limit(info: ModelInfo, max_sequence_length: int) -> str:
    if max_sequence_length < info.max_model_len:
        return f"the maximum context length that the KV cache holds is {max_sequence_length} tokens (--kv-cache-bytes)"
    return f"this model's maximum context length is {info.max_model_len} tokens"


def _check_token_ids(params: SamplingParams, vocab_size: int) -> None:
    _check_range("logit_bias", params.logit_bias, vocab_size)
    _check_range("allowed_token_ids", params.allowed_token_ids or (), vocab_size)
    _check_range("stop_token_ids", params.stop_token_ids, vocab_size)


def check_constraints(sampling: RowSampling, vocab_size: int) -> None:
    """Check what the parameters became in tokens: ids within the vocabulary, and at least one that may be drawn first.

    Raises:
        InvalidRequestError: naming the field.
    """
    for bad_word in sampling.bad_words:
        _check_range("bad_words", bad_word, vocab_size)
    barred = {bad_word[0] for bad_word in sampling.bad_words if len(bad_word) == 1}.union(sampling.blocked_until_min)
    if sampling.allowed_token_ids is not None:
        if barred.issuperset(sampling.allowed_token_ids):
            raise InvalidRequestError(
                "allowed_token_ids: min_tokens or bad_words bar every one of them; allow one more, or lower min_tokens", "allowed_token_ids"
            )
    elif len(barred) >= vocab_size:
        raise InvalidRequestError("bad_words and min_tokens bar every token of the vocabulary; leave some out", "bad_words")


def _check_range(field: str, token_ids: Collection[int], vocab_size: int) -> None:
    if not all(issubclass(kind, Integral) for kind in set(map(type, token_ids))):
        raise InvalidRequestError(f"{field} must be token ids, which are integers", field)
    outside = next(
        (token_id for token_id in (min(token_ids, default=0), max(token_ids, default=0)) if not 0 <= token_id < vocab_size), None
    )
    if outside is not None:
        raise InvalidRequestError(f"{field} has the token id {outside}; the model's ids are 0..{vocab_size - 1}", field)
