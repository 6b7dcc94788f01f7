"""One choice on its way out: tokens in, deltas out; finds the end that only its text shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from octavo._runtime import StopMatcher
from octavo.scheduler import SequenceOutput
from octavo.types import Delta, FinishReason, SamplingParams, TokenLogprobs

__all__ = ["Choice", "ChoiceRules", "NoText"]


class Detokenizer(Protocol):
    """Token ids to text, incrementally; text never ends inside a character."""

    def push(self, token_ids: list[int]) -> str: ...
    def finish(self) -> str: ...


class NoText:
    """The detokenizer of a request that wants no text."""

    def push(self, token_ids: list[int]) -> str:
        """There are no tokens."""
        return ""

    def finish(self) -> str:
        """Nothing was held back."""
        return ""


@dataclass(frozen=True, slots=True)
class ChoiceRules:
    """How the choices of one request become text; made once, shared by all of them.

    Attributes:
        stop_token_ids: those that the request names.
        matcher: of the stop strings, at its beginning; each choice takes a fork. None where there are none.
    """

    params: SamplingParams
    stop_token_ids: frozenset[int]
    matcher: StopMatcher | None

    @staticmethod
    def of(params: SamplingParams) -> ChoiceRules:
        """The rules of a request."""
        matcher = StopMatcher(params.stop, params.include_stop_str_in_output) if params.stop else None
        return ChoiceRules(params, frozenset(params.stop_token_ids), matcher)


class Choice:
    """Detokenizes, matches stop strings, reports log-probabilities.

    The core ends a choice by its tokens: an end-of-sequence or stop token, `max_tokens`. A stop string ends it here, also with the last
    token. Text that may be the beginning of a stop string, or the beginning of a character, is held back; what is still held at the end
    is emitted then.

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
        self._plain = self._matcher is None and rules.params.logprobs is None
        self.num_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.last_token_s: float | None = None

    def push(self, output: SequenceOutput) -> Delta:
        """Take the next tokens, at least one; those after a stop string are dropped. The choice must not have ended before."""
        token_ids, logprobs = output.token_ids, output.logprobs
        if self._plain and output.finish_reason is None:  # nearly all there are
            self.num_tokens += len(token_ids)
            return Delta(self._index, self._detokenizer.push(token_ids), token_ids, num_cached_tokens=output.num_cached_tokens)
        if len(token_ids) == 1:
            return self._push(output, token_ids[0], logprobs[0] if logprobs else None, output.finish_reason)
        deltas: list[Delta] = []
        for index, token_id in enumerate(token_ids):
            reason = output.finish_reason if index == len(token_ids) - 1 else None
            deltas.append(self._push(output, token_id, logprobs[index] if logprobs else None, reason))
            if self.finish_reason is not None:
                break
        return Delta.joined(deltas)

    def _push(self, output: SequenceOutput, token_id: int, logprobs: TokenLogprobs | None, reason: FinishReason | None) -> Delta:
        """`reason`: why the core ends the choice with this token, or None."""
        self.num_tokens += 1
        stop_reason: int | str | None = token_id if reason is FinishReason.STOP and token_id in self._rules.stop_token_ids else None
        token_ids = [token_id]
        hidden = reason is FinishReason.STOP and not self._params.include_stop_str_in_output
        text = "" if hidden else self._detokenizer.push(token_ids)
        if self._matcher is not None or reason is not None:
            text, stop = self._match(text)
            if stop is None and reason is not None:
                rest, stop = self._rest()
                text += rest
            if stop is not None:
                reason, stop_reason = FinishReason.STOP, stop
        self.finish_reason = reason
        return Delta(
            index=self._index,
            text=text,
            token_ids=token_ids,
            logprobs=self._reported(logprobs),
            finish_reason=reason,
            stop_reason=stop_reason,
            num_cached_tokens=output.num_cached_tokens,
        )

    def end(self, reason: FinishReason, num_cached_tokens: int, error: str | None = None) -> Delta:
        """End the choice without a token (ABORT, ERROR)."""
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
