"""The front's side of a request, from its acceptance to the end of its last choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from octavo.engine.choice import Choice
from octavo.engine.request_stream import RequestStream
from octavo.engine.stats import RequestSummary
from octavo.scheduler import SequenceOutput
from octavo.types import Delta, FinishReason, GenerationRequest, TokenLogprobs

__all__ = ["LiveRequest"]


class LiveRequest:
    """Turns the core's outputs of one request into the deltas of its choices.

    Attributes:
        core_id: the request's name between front and core, which is never used twice.
        num_open: choices that have not ended.
        num_cached_tokens: prompt tokens that the prefix cache served; 0 before the request first ran.
        queue_s: seconds that it waited for its first step, known from its first output on.
        arrival_s, first_token_s: the engine's clock, seconds.
    """

    def __init__(
        self, request: GenerationRequest, core_id: str, new_choice: Callable[[int], Choice], stream: RequestStream, arrival_s: float
    ) -> None:
        self.request = request
        self.core_id = core_id
        self.stream = stream
        self.num_open = request.params.n
        self.num_cached_tokens = 0
        self.queue_s = 0.0
        self.arrival_s = arrival_s
        self.first_token_s: float | None = None
        self._new_choice = new_choice
        self._choices: list[Choice | None] = [None] * request.params.n
        self._prompt_logprobs: list[TokenLogprobs | None] = [None]  # nothing predicts the first token

    def choice(self, index: int) -> Choice:
        """The choice, made when it is first needed."""
        choice = self._choices[index]
        if choice is None:
            choice = self._choices[index] = self._new_choice(index)
        return choice

    def take(self, output: SequenceOutput, choice: Choice) -> Delta | None:
        """The delta that an output of `choice`, which goes on, makes known; None where that waits for the first token."""
        self.num_cached_tokens = output.num_cached_tokens
        self.queue_s = output.queue_s
        if output.prompt_logprobs is not None:
            self._prompt_logprobs += output.prompt_logprobs
        if not output.token_ids:
            reason = output.finish_reason
            if reason is None:
                return None
            last = choice.end(reason, output.num_cached_tokens, output.error)
            return last if output.pooled is None else replace(last, pooled=output.pooled)
        is_first = choice.num_tokens == 0
        delta = choice.push(output)
        if is_first and output.choice == 0 and self.request.params.prompt_logprobs is not None:
            return replace(delta, prompt_logprobs=self._prompt_logprobs)
        return delta

    def end(self, reason: FinishReason, error: str | None = None) -> list[Delta]:
        """The last deltas of the choices that have not ended."""
        choices = [self.choice(index) for index in range(len(self._choices))]
        return [choice.end(reason, self.num_cached_tokens, error) for choice in choices if choice.finish_reason is None]

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
            queue_s=self.queue_s,
        )
