"""A request in tokens, as the core takes it: checked, its parameters turned into the runner's terms."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from octavo.engine.admission import admit, admit_pooling, check_constraints
from octavo.engine.beams import beam_params, max_length_of
from octavo.engine.content_ids import with_content_ids
from octavo.engine.model_info import ModelInfo
from octavo.engine.port import CoreLimits
from octavo.engine.row_sampling import row_samplings
from octavo.errors import InvalidRequestError
from octavo.scheduler import CoreRequest
from octavo.step import RowSampling
from octavo.types import GenerationRequest, PoolingParams

if TYPE_CHECKING:
    from octavo.text.tokenizer import Tokenizer

__all__ = ["core_request"]

_NO_SPEECH = "this model hears no speech; its answers are texts (/v1/chat/completions)"
_SPEECH_ONLY = "this model hears speech and makes no other texts; use /v1/audio/transcriptions"


def core_request(
    request: GenerationRequest, core_id: str, seeds: Random, tokenizer: Tokenizer, info: ModelInfo, limits: CoreLimits
) -> CoreRequest:
    """Return the request for the core.

    Args:
        core_id: the request's name between front and core, which is never used twice.
        seeds: a request that can be served takes one from here, for the case that it names none.

    Raises:
        InvalidRequestError: it can never be served; names the field.
    """
    if request.pooling is not None:
        return _pooling_request(request, request.pooling, core_id, info, limits)
    hears = bool(request.pictures) and not request.media
    if (info.speech is not None) != hears:
        raise InvalidRequestError(_NO_SPEECH if info.speech is None else _SPEECH_ONLY, "model")
    params = request.params
    max_tokens = admit(request, info, max_length_of(request, limits))
    end_token_ids = frozenset(params.stop_token_ids if params.ignore_eos else (*params.stop_token_ids, *tokenizer.eos_token_ids))
    samplings = row_samplings(params, tokenizer, info.vocab_size, seeds.getrandbits(64), end_token_ids)
    check_constraints(samplings[0], info.vocab_size)
    return CoreRequest(
        request_id=core_id,
        prompt_token_ids=with_content_ids(request.prompt_token_ids, request.media, info.vocab_size),
        samplings=samplings,
        max_tokens=max_tokens,
        end_token_ids=end_token_ids,
        priority=request.priority,
        cache_extras=request.cache_salt.encode(),
        grammar_field=request.grammar_field,
        beams=beam_params(params),
        pictures=request.pictures,
        media=request.media,
        timestamps=request.timestamps,
    )


def _pooling_request(request: GenerationRequest, pooling: PoolingParams, core_id: str, info: ModelInfo, limits: CoreLimits) -> CoreRequest:
    row = admit_pooling(pooling, request.prompt_token_ids, info, limits.max_prompt_length)
    model = info.pooling
    assert model is not None
    return CoreRequest(
        request_id=core_id,
        prompt_token_ids=request.prompt_token_ids,
        samplings=(RowSampling(),),
        max_tokens=1,
        priority=request.priority,
        cache_extras=request.cache_salt.encode(),
        pooling=row,
        whole=model.whole,
        reuses_prefix=model.reuses_prefix and not row.token_wise,
    )
