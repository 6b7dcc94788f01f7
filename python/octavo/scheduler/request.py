"""What goes into the scheduler and what comes out of it. Plain data: both cross from the front of the engine to its core and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from octavo.step import RowPooling, RowSampling
from octavo.types import FinishReason, MediaSpan, Picture, PromptEmbeds, TimestampRules, TokenLogprobs

__all__ = ["BeamParams", "CoreRequest", "SequenceOutput"]


@dataclass(frozen=True, slots=True)
class BeamParams:
    """What a beam search asks for, besides what any request does.

    Attributes:
        num_wanted: texts that come out at its end, best first; at most as many as there are beams.
        length_penalty: above 0 longer texts win more often, below 0 shorter ones.
        early_stopping: True: end with as many ended texts as beams; False: when the best beam, at its present length, scores no better than
            the worst of these; "never": the same, at the length that would be best for it.
        num_reported: alternatives to report for each token; None: no log-probabilities.
    """

    num_wanted: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    num_reported: int | None = None


@dataclass(frozen=True, slots=True)
class CoreRequest:
    """A request in tokens. One sequence is made for each entry of `samplings`.

    Attributes:
        request_id: unique; an output that comes late must not look like another request's.
        prompt_token_ids: not copied, never changed.
        samplings: one per choice, or per beam with `beams`; at most the first asks for prompt log-probabilities.
        prompt_token_ids: not copied, never changed. In place of placeholders it has numbers that follow from what a picture shows, and
            that no token has: so equal prompts with other pictures share no blocks behind them.
        samplings: one per choice; at most the first asks for prompt log-probabilities.
        max_tokens: most outputs of each choice; prompt and outputs together fit `Scheduler.max_sequence_length`.
        end_token_ids: end a choice that has more than its sampling's `min_tokens` outputs, themselves included.
        priority: lower is served first.
        cache_extras: what the KV content depends on besides the tokens.
        pooling: the request wants vectors: its one sequence draws nothing, and `max_tokens` is 1. None: it wants tokens.
        whole: the prompt is computed in one step or not at all (encoders; pooling that needs all tokens at once).
        reuses_prefix: whether tokens that the prefix cache holds need not be computed.
        grammar_field: the field that asked for the samplings' grammar, for an error to name.
        beams: the sequences are beams of one search, whose texts are the choices. None: each sequence is a choice.
        pictures, media, timestamps: see `GenerationRequest`.
    """

    request_id: str
    prompt_token_ids: list[int]
    samplings: tuple[RowSampling, ...]
    max_tokens: int
    end_token_ids: frozenset[int] = frozenset()
    priority: int = 0
    cache_extras: bytes = b""
    pooling: RowPooling | None = None
    whole: bool = False
    reuses_prefix: bool = True
    grammar_field: str = "grammar"
    beams: BeamParams | None = None

    @property
    def num_choices(self) -> int:
        """Choices that outputs come for."""
        return len(self.samplings) if self.beams is None else self.beams.num_wanted

    pictures: tuple[Picture | PromptEmbeds, ...] = ()
    media: tuple[MediaSpan, ...] = ()
    timestamps: TimestampRules | None = None


class SequenceOutput(NamedTuple):
    """What a step made for one choice.

    Attributes:
        choice: index of the choice within its request.
        token_ids: new outputs; empty where there are only prompt log-probabilities or an error.
        logprobs: one entry per token; None where not asked for.
        prompt_logprobs: of the next prompt tokens, in order; None where the step has none.
        num_cached_tokens: prompt tokens that the prefix cache served.
        finish_reason: STOP, LENGTH: the last of `token_ids` ends the choice, or `pooled` does; ERROR: it cannot go on. Nothing follows.
        error: what went wrong, with ERROR.
        pooled: float32 bytes of a pooling request's vectors, with STOP.
        queue_s: seconds from the request's arrival to its first step.
    """

    request_id: str
    choice: int
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    num_cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    error: str | None = None
    pooled: bytes | None = None
    queue_s: float = 0.0
