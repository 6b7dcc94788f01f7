"""Whether a request can ever be served, decided before it is queued."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral
from typing import TYPE_CHECKING

from octavo.engine.model_info import ModelInfo
from octavo.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequestError
from octavo.step import RowPooling, RowSampling
from octavo.types import GenerationRequest, PoolingParams, SamplingParams

if TYPE_CHECKING:
    from octavo.checkpoint.pooling_config import PoolingConfig

__all__ = ["admit", "admit_pooling", "check_constraints"]


def admit(request: GenerationRequest, info: ModelInfo, max_sequence_length: int) -> int:
    """Check a request against the model and the KV cache; returns how many tokens each choice may have.

    `max_sequence_length`: most tokens of a sequence that the scheduler can hold, <= info.max_model_len.

    Raises:
        InvalidRequestError: naming the field, where no amount of waiting would help.
    """
    if info.pooling is not None:
        raise InvalidRequestError(
            f"{info.name} makes vectors, not text ({info.pooling.task}); use /v1/embeddings, /score, /rerank, /classify or /pooling, "
            "or LLM.embed, score, classify or encode",
            "model",
        )
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


def admit_pooling(pooling: PoolingParams, prompt_token_ids: list[int], info: ModelInfo, max_prompt_length: int) -> RowPooling:
    """Check a request for vectors against the model; returns what the runner makes of it.

    `max_prompt_length`: most tokens of a prompt that the scheduler can hold, <= info.max_model_len.

    Raises:
        InvalidRequestError: naming the field, where no amount of waiting would help.
    """
    model = info.pooling
    if model is None:
        raise InvalidRequestError(f"{info.name} makes text, not vectors; serve an embedding model, or this one with --task embed", "model")
    if not prompt_token_ids:
        raise InvalidRequestError("the input is empty; give at least one token", "input")
    num_tokens = len(prompt_token_ids)
    if num_tokens > max_prompt_length:
        raise InvalidRequestError(
            f"the input has {num_tokens} tokens, but {_limit(info, max_prompt_length)}; shorten it, or have it cut: truncate_prompt_tokens",
            "input",
            CONTEXT_LENGTH_EXCEEDED,
        )
    _check_range("input", prompt_token_ids, info.vocab_size)
    if model.task == "token_classify" and not pooling.token_wise:
        raise InvalidRequestError(f"{info.name} classifies tokens, not texts; use /pooling or LLM.encode", "model")
    width = model.token_width if pooling.token_wise else model.width
    if pooling.dimensions is not None and (model.task != "embed" or pooling.dimensions > width):
        most = f"its embeddings have {width}" if model.task == "embed" else "it makes no embeddings"
        raise InvalidRequestError(f"dimensions is {pooling.dimensions}, but {most}", "dimensions")
    return RowPooling(pooling.token_wise, pooling.dimensions, _activation(pooling, model), pooling.second_segment)


def _activation(pooling: PoolingParams, model: PoolingConfig) -> str:
    """What vectors go through at last. Hidden states of tokens are embeddings whatever head the model has."""
    if pooling.use_activation is False:
        return "none"
    if model.task == "classify" and pooling.token_wise:
        return "normalize" if pooling.use_activation else "none"
    if pooling.use_activation and model.activation == "none":
        return "normalize" if model.task == "embed" else "sigmoid" if model.width == 1 else "softmax"
    return model.activation


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
    _check_range("logprob_token_ids", params.logprob_token_ids, vocab_size)


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
    if not token_ids:
        return
    if not all(issubclass(kind, Integral) for kind in set(map(type, token_ids))):
        raise InvalidRequestError(f"{field} must be token ids, which are integers", field)
    outside = next((token_id for token_id in (min(token_ids), max(token_ids)) if not 0 <= token_id < vocab_size), None)
    if outside is not None:
        raise InvalidRequestError(f"{field} has the token id {outside}; the model's ids are 0..{vocab_size - 1}", field)
