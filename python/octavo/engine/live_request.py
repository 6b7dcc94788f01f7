"""A request from its acceptance to the end of its last choice."""

from __future__ import annotations

from collections.abc import Callable
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
        num_open: choices that have not ended.
        arrival_s, first_token_s: the engine's clock, seconds.
    """

    def __init__(
        self,
        request: GenerationRequest,
        group: SequenceGroup,
        new_choice: Callable[[int], Choice],
        stream: RequestStream,
        arrival_s: float,
    ) -> None:
        self.request = request
        self.group = group
        self._new_choice = new_choice
        self._choices: list[Choice | None] = [None] * request.params.n
        self.num_open = request.params.n
        self.stream = stream
        self.arrival_s = arrival_s
        self.first_token_s: float | None = None
        self._prompt_logprobs: list[TokenLogprobs | None] = [None]  # nothing predicts the first token

    @property
    def num_cached_tokens(self) -> int:
        """Prompt tokens that the prefix cache served; 0 before the request first ran."""
        return self.group.num_cached_tokens or 0

    def choice(self, index: int) -> Choice:
        """The output side of `group.sequences[index]`, made when it is first needed."""
        choice = self._choices[index]
        if choice is None:
            choice = self._choices[index] = self._new_choice(index)
        return choice

    def take(self, output: SequenceOutput) -> Delta | None:
        """The delta that a step's output makes known; None where that waits for the first token."""
        if output.prompt_logprobs is not None:
            self._prompt_logprobs += output.prompt_logprobs
        if not output.token_ids:
            return None
        index = output.sequence.index
        choice = self.choice(index)
        is_first = choice.num_tokens == 0
        delta = choice.push(output.token_ids, output.logprobs, self.num_cached_tokens)
        if index == 0 and is_first and self.request.params.prompt_logprobs is not None:
            return replace(delta, prompt_logprobs=self._prompt_logprobs)
        return delta

    def summary(self, now_s: float) -> RequestSummary:
        """What there is to say once every choice has ended."""
        choices = [choice for choice in self._choices if choice is not None]
        return RequestSummary(
            finish_reasons=tuple(choice.finish_reason or FinishReason.ABORT for choice in choices),
            num_prompt_tokens=len(self.request.prompt_token_ids),
            num_cached_tokens=self.num_cached_tokens,
            num_generation_tokens=sum(choice.num_tokens for choice in choices),
            ttft_s=None if self.first_token_s is None else self.first_token_s - self.arrival_s,
            e2e_s=now_s - self.arrival_s,
        )
