"""A request's beam search in the scheduler's terms, and whether it can be served."""

from __future__ import annotations

from octavo.engine.port import CoreLimits
from octavo.errors import InvalidRequestError
from octavo.scheduler import BeamParams
from octavo.types import GenerationRequest, SamplingParams

__all__ = ["beam_params", "max_length_of", "num_best"]

_MAX_BEST = 64  # tokens that a row may report


def max_length_of(request: GenerationRequest, limits: CoreLimits) -> int:
    """Most tokens of a choice, prompt and output, that a core can hold; of each beam where there are several.

    Raises:
        InvalidRequestError: more beams than can run side by side.
    """
    params, most = request.params, limits.max_sequence_length
    if params.beam_width is None:
        return most
    if params.beam_width > len(limits.max_beam_lengths):
        raise InvalidRequestError(
            f"beam search with {params.beam_width} beams: at most {len(limits.max_beam_lengths)} run side by side here (--max-num-seqs); "
            "lower n or best_of",
            "beam_width",
        )
    most_of_each = limits.max_beam_lengths[params.beam_width - 1]
    num_wanted = len(request.prompt_token_ids) + (params.max_tokens or params.min_tokens or 1)
    if most_of_each < num_wanted <= most:
        raise InvalidRequestError(
            f"beam search with {params.beam_width} beams of {num_wanted} tokens: the KV cache holds as many beams of {most_of_each} "
            "(--kv-cache-bytes); lower n or best_of, or max_tokens",
            "beam_width",
        )
    return most_of_each


def beam_params(params: SamplingParams) -> BeamParams | None:
    """The search that a request asks for; None: none."""
    if params.beam_width is None:
        return None
    return BeamParams(params.n, params.length_penalty, params.early_stopping, params.logprobs)


def num_best(params: SamplingParams, end_token_ids: frozenset[int], vocab_size: int) -> int:
    """Tokens that each beam's row reports: enough that the best ones of all beams are among them, whichever of them end a text.

    Raises:
        InvalidRequestError: too many tokens may end a text.
    """
    width = params.beam_width or 1
    if width + len(end_token_ids) > _MAX_BEST:
        raise InvalidRequestError(
            f"{len(end_token_ids)} tokens end a text; beam search with {width} beams takes {_MAX_BEST - width}", "stop_token_ids"
        )
    return min(vocab_size, max(width + len(end_token_ids), params.logprobs or 0))
