"""What goes into the scheduler and what comes out of it for the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from octavo.scheduler.sequence import Sequence
from octavo.step import RowPooling, RowSampling
from octavo.types import TokenLogprobs

__all__ = ["NewRequest", "SequenceOutput"]


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request as it arrives. One sequence is made for each entry of `samplings`.

    Attributes:
        request_id: unique among the live requests.
        prompt_token_ids: not copied, never changed.
        samplings: one per choice; at most the first asks for prompt log-probabilities.
        max_tokens: most outputs of each choice; prompt and outputs together fit `Scheduler.max_sequence_length`.
        priority: lower is served first.
        cache_extras: what the KV content depends on besides the tokens.
        pooling: the request wants vectors: its one sequence draws nothing, and `max_tokens` is 1. None: it wants tokens.
        whole: the prompt is computed in one step or not at all (encoders; pooling that needs all tokens at once).
        reuses_prefix: whether tokens that the prefix cache holds need not be computed.
    """

    request_id: str
    prompt_token_ids: list[int]
    samplings: tuple[RowSampling, ...]
    max_tokens: int
    priority: int = 0
    cache_extras: bytes = b""
    pooling: RowPooling | None = None
    whole: bool = False
    reuses_prefix: bool = True


class SequenceOutput(NamedTuple):
    """What a step made for a live sequence: tokens, prompt log-probabilities, vectors, or an error.

    After vectors or an error it must be finished.
    """

    sequence: Sequence
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    error: str | None = None
    pooled: bytes | None = None
