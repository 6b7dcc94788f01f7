"""From the texts of a request to their vectors: tokenized off the loop, computed together, given back in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from octavo.engine.pooling_inputs import PoolingInput, pooling_input, pooling_of
from octavo.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequestError
from octavo.server.edge.errors import ApiError
from octavo.types import Delta, FinishReason, GenerationRequest, PoolingParams, SamplingParams

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext
    from octavo.server.pooling.protocol import PoolingRequestBody

__all__ = ["Vectors", "compute", "cosines", "tokenized", "usage"]

_PARAMS = SamplingParams(max_tokens=1)


class Vectors(NamedTuple):
    """float32 bytes of each input's vectors, and what they took.

    Attributes:
        width: columns of a vector.
        num_tokens: of all inputs.
    """

    rows: list[bytes]
    width: int
    num_tokens: int
    num_cached_tokens: int


async def tokenized(
    context: ServerContext, body: PoolingRequestBody, texts: Sequence[tuple[str | list[int], str | None]], *, prompt_name: str | None = None
) -> list[PoolingInput]:
    """Tokenize inputs: texts, pairs of texts, or token ids, which stay what they are but for being cut."""
    info, most = context.engine.info, body.truncate_prompt_tokens
    pooling_of(info)
    if most == 0:
        raise InvalidRequestError("truncate_prompt_tokens is 0; at least one token must stay", "truncate_prompt_tokens")
    longest = 0 if most is not None else max(len(text) + len(other or "") for text, other in texts)
    if longest > 10_000 and longest > info.max_model_len * await context.max_token_bytes():
        message = f"this model's maximum context length is {info.max_model_len} tokens, but an input has {longest} characters"
        raise InvalidRequestError(message, "input", CONTEXT_LENGTH_EXCEEDED)
    kept = info.max_model_len if most == -1 else most
    encode = partial(pooling_input, context.engine.tokenizer, info, prompt_name=prompt_name, most=most)

    def all_of_them() -> list[PoolingInput]:
        inputs = []
        for text, other in texts:
            inputs.append(PoolingInput(text[:kept]) if isinstance(text, list) else encode(text, other))
            num_tokens = len(inputs[-1].token_ids)
            if num_tokens > info.max_model_len:  # at once: the others need not be tokenized any more
                message = (
                    f"the input has {num_tokens} tokens, but this model's maximum context length is {info.max_model_len} tokens; shorten it"
                )
                raise InvalidRequestError(f"{message}, or have it cut: truncate_prompt_tokens", "input", CONTEXT_LENGTH_EXCEEDED)
        return inputs

    return await context.workers.run(sum(len(text) + len(other or "") for text, other in texts), all_of_them)


async def compute(context: ServerContext, body: PoolingRequestBody, inputs: Sequence[PoolingInput], params: PoolingParams) -> Vectors:
    """Compute the vectors of all inputs, as many at once as keep the engine busy. The first that is refused or fails ends all."""
    model, engine = pooling_of(context.engine.info), context.engine
    name = f"pool-{uuid4().hex}"
    rows: list[bytes] = [b""] * len(inputs)
    cached = [0] * len(inputs)
    todo = iter(enumerate(inputs))

    async def work() -> None:
        for index, each in todo:
            request = GenerationRequest(f"{name}-{index}", each.token_ids, _PARAMS, body.priority, pooling=_with_segment(params, each))
            async with await engine.submit(request) as stream:
                async for delta in stream:
                    rows[index], cached[index] = _pooled(delta), delta.num_cached_tokens

    tasks = [asyncio.create_task(work()) for _ in range(min(len(inputs), max(1, engine.max_in_flight)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    width = params.dimensions or (model.token_width if params.token_wise else model.width)
    return Vectors(rows, width, sum(len(each.token_ids) for each in inputs), sum(cached))


def _pooled(delta: Delta) -> bytes:
    if delta.finish_reason is FinishReason.ERROR:
        raise ApiError(500, delta.error or "the request failed in the engine", kind="server_error", code="generation_failed")
    if delta.pooled is None:
        raise ApiError(503, "the request was given up: the server is shutting down", kind="service_unavailable_error", code="aborted")
    return delta.pooled


def _with_segment(params: PoolingParams, each: PoolingInput) -> PoolingParams:
    if each.second_segment is None:
        return params
    return PoolingParams(params.dimensions, params.use_activation, params.token_wise, each.second_segment)


def usage(vectors: Vectors) -> dict[str, Any]:
    """Return OpenAI's usage object."""
    return {
        "prompt_tokens": vectors.num_tokens,
        "total_tokens": vectors.num_tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": vectors.num_cached_tokens},
    }


def cosines(firsts: Sequence[bytes], seconds: Sequence[bytes]) -> list[float]:
    """Return the cosine of the angle between each second vector and its partner, or the only first one; 0 where one has no direction."""
    import numpy as np  # a server that makes text does without

    left, right = (np.frombuffer(b"".join(rows), np.float32).reshape(len(rows), -1).astype(np.float64) for rows in (firsts, seconds))
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return ((left * right).sum(1) / np.where(lengths > 0, lengths, 1.0)).tolist()
