"""What goes into the scheduler and what comes out of it for the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from octavo.scheduler.sequence import Sequence
from octavo.step import RowSampling
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
    """

    request_id: str
    prompt_token_ids: list[int]
    samplings: tuple[RowSampling, ...]
    max_tokens: int
    priority: int = 0
    cache_extras: bytes = b""


class SequenceOutput(NamedTuple):
    """What a step made for a live sequence: tokens, prompt log-probabilities, or an error after which it must be finished."""

    sequence: Sequence
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    error: str | None = None
