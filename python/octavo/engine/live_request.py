"""A request from its acceptance to the end of its last choice."""

from __future__ import annotations

from dataclasses import replace

from octavo.engine.choice import Choice
from octavo.engine.request_stream import RequestStream
from octavo.engine.stats import RequestSummary
from octavo.scheduler import SequenceGroup, SequenceOutput
from octavo.types import Delta, FinishReason, GenerationRequest, TokenLogprobs

__all__ = ["LiveRequest"]


class LiveRequest:
    """Joins what the parts know of one request: the scheduler's sequences, the output side of each choice, the reader's stream.

    Attributes:
        choices: output side of each choice; `choices[i]` belongs to `group.sequences[i]`.
        arrival_s, first_token_s: the engine's clock, seconds.
    """

    def __init__(
        self, request: GenerationRequest, group: SequenceGroup, choices: list[Choice], stream: RequestStream, arrival_s: float
    ) -> None:
        self.request = request
        self.group = group
        self.choices = choices
        self.stream = stream
        self.arrival_s = arrival_s
        self.first_token_s: float | None = None
        self._prompt_logprobs: list[TokenLogprobs | None] = [None]  # nothing predicts the first token

    @property
    def num_cached_tokens(self) -> int:
        """Prompt tokens that the prefix cache served; 0 before the request first ran."""
        return self.group.num_cached_tokens or 0

    @property
    def ended(self) -> bool:
        return all(choice.finish_reason is not None for choice in self.choices)

    def take(self, output: SequenceOutput) -> Delta | None:
        """The delta that a step's output makes known; None where that waits for the first token."""
        if output.prompt_logprobs is not None:
            self._prompt_logprobs += output.prompt_logprobs
        if output.token_id is None:
            return None
        index = output.sequence.index
        choice = self.choices[index]
        delta = choice.push(output.token_id, output.logprobs, self.num_cached_tokens)
        if index == 0 and choice.num_tokens == 1 and self.request.params.prompt_logprobs is not None:
            return replace(delta, prompt_logprobs=self._prompt_logprobs)
        return delta

    def summary(self, now_s: float) -> RequestSummary:
        """What there is to say once every choice has ended."""
        return RequestSummary(
            finish_reasons=tuple(choice.finish_reason or FinishReason.ABORT for choice in self.choices),
            num_prompt_tokens=len(self.request.prompt_token_ids),
            num_cached_tokens=self.num_cached_tokens,
            num_generation_tokens=sum(choice.num_tokens for choice in self.choices),
            ttft_s=None if self.first_token_s is None else self.first_token_s - self.arrival_s,
            e2e_s=now_s - self.arrival_s,
        )
