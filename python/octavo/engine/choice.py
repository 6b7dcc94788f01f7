"""One choice on its way out: tokens in, deltas out; decides when the choice ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from octavo._runtime import StopMatcher
from octavo.types import Delta, FinishReason, SamplingParams, TokenLogprobs

__all__ = ["Choice", "ChoiceRules"]


class Detokenizer(Protocol):
    """Token ids to text, incrementally; text never ends inside a character."""

    def push(self, token_ids: list[int]) -> str: ...
    def finish(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ChoiceRules:
    """What ends the choices of one request; made once, shared by all of them.

    Attributes:
        max_tokens: most outputs of each.
        stop_token_ids: those that the request names.
        end_token_ids: those and the end-of-sequence tokens, where they count.
        matcher: of the stop strings, at its beginning; each choice takes a fork. None where there are none.
    """

    params: SamplingParams
    max_tokens: int
    stop_token_ids: frozenset[int]
    end_token_ids: frozenset[int]
    matcher: StopMatcher | None

    @staticmethod
    def of(params: SamplingParams, max_tokens: int, eos_token_ids: frozenset[int]) -> ChoiceRules:
        """The rules of a request; `max_tokens` is what admission granted."""
        stop_token_ids = frozenset(params.stop_token_ids)
        end_token_ids = stop_token_ids if params.ignore_eos else stop_token_ids | eos_token_ids
        matcher = StopMatcher(params.stop, params.include_stop_str_in_output) if params.stop else None
        return ChoiceRules(params, max_tokens, stop_token_ids, end_token_ids, matcher)


class Choice:
    """Detokenizes, matches stop strings, counts tokens.

    A choice ends with the first of: an end-of-sequence or stop token, a stop string, `max_tokens` tokens. Text that may be the
    beginning of a stop string, or the beginning of a character, is held back; what is still held at the end is emitted then.

    Attributes:
        num_tokens: outputs so far.
        finish_reason: None while the choice goes on.
        last_token_s: the engine's clock at its last token, seconds; None before the first.
    """

    def __init__(self, index: int, rules: ChoiceRules, detokenizer: Detokenizer) -> None:
        self._index = index
        self._rules = rules
        self._params = rules.params
        self._detokenizer = detokenizer
        self._matcher = None if rules.matcher is None else rules.matcher.fork()
        self.num_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.last_token_s: float | None = None

    def push(self, token_ids: list[int], logprobs: list[TokenLogprobs] | None, num_cached_tokens: int) -> Delta:
        """Take the next tokens, at least one; those after the choice's end are dropped. The choice must not have ended before."""
        if len(token_ids) == 1:
            return self._push(token_ids[0], logprobs[0] if logprobs else None, num_cached_tokens)
        deltas: list[Delta] = []
        for index, token_id in enumerate(token_ids):
            deltas.append(self._push(token_id, logprobs[index] if logprobs else None, num_cached_tokens))
            if self.finish_reason is not None:
                break
        return Delta.joined(deltas)

    def _push(self, token_id: int, logprobs: TokenLogprobs | None, num_cached_tokens: int) -> Delta:
        self.num_tokens += 1
        stop_reason: int | str | None = None
        if (
            token_id in self._rules.end_token_ids and self.num_tokens > self._params.min_tokens
        ):  # the sampler sees to it too, not any sampler
            self.finish_reason = FinishReason.STOP
            stop_reason = token_id if token_id in self._rules.stop_token_ids else None
        elif self.num_tokens == self._rules.max_tokens:
            self.finish_reason = FinishReason.LENGTH
        token_ids = [token_id]
        hidden = self.finish_reason is FinishReason.STOP and not self._params.include_stop_str_in_output
        text = "" if hidden else self._detokenizer.push(token_ids)
        if self._matcher is not None or self.finish_reason is not None:
            text, stop = self._match(text)
            if stop is None and self.finish_reason is not None:
                rest, stop = self._rest()
                text += rest
            if stop is not None:
                self.finish_reason, stop_reason = FinishReason.STOP, stop
        return Delta(
            index=self._index,
            text=text,
            token_ids=token_ids,
            logprobs=self._reported(logprobs),
            finish_reason=self.finish_reason,
            stop_reason=stop_reason,
            num_cached_tokens=num_cached_tokens,
        )

    def end(self, reason: FinishReason, num_cached_tokens: int, error: str | None = None) -> Delta:
        """End the choice from outside (ABORT, ERROR)."""
        self.finish_reason = reason
        text = "" if reason is FinishReason.ERROR else self._rest()[0]
        return Delta(
            index=self._index,
            text=text,
            logprobs=self._reported(None),
            finish_reason=reason,
            num_cached_tokens=num_cached_tokens,
            error=error,
        )

    def _match(self, text: str) -> tuple[str, str | None]:
        """Stop strings are looked for in the text of the tokens from number min_tokens on."""
        if self._matcher is None or self.num_tokens < self._params.min_tokens:
            return text, None
        return self._matcher.push(text)

    def _rest(self) -> tuple[str, str | None]:
        text, stop = self._match(self._detokenizer.finish())
        if stop is None and self._matcher is not None:
            text += self._matcher.finish()
        return text, stop

    def _reported(self, logprobs: TokenLogprobs | None) -> list[TokenLogprobs] | None:
        if self._params.logprobs is None:
            return None
        return [] if logprobs is None else [logprobs]
