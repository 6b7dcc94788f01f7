"""`text_completion` documents. A choice of a whole answer and a choice of a chunk have the same form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from octavo.server.openai.logprobs import CompletionLogprobs, prompt_logprobs
from octavo.types import Delta, TokenLogprobs

if TYPE_CHECKING:
    from octavo.server.edge.generation import Prompt
    from octavo.server.openai.protocol import CompletionBody
    from octavo.text.tokenizer import Tokenizer

__all__ = ["CompletionShape"]

_UNASKED = dict.fromkeys(("token_ids", "prompt_token_ids", "prompt_logprobs"))  # clients read the keys whether they asked or not


class CompletionShape:
    """Forms the documents of one completion request. Choices of prompt p are numbered p * n + index."""

    object_name = "text_completion"
    chunk_object_name = "text_completion"

    def __init__(self, tokenizer: Tokenizer, body: CompletionBody, prompts: Sequence[Prompt]) -> None:
        self._tokenizer = tokenizer
        self._body = body
        self._prompts = prompts
        self._shows_prompt_logprobs = body.prompt_logprobs is not None or (body.echo and body.logprobs is not None)
        self._opened: set[int] = set()
        self._formatters: dict[int, CompletionLogprobs] = {}
        self._prompt_logprobs: dict[int, list[TokenLogprobs | None]] = {}
        self._held: dict[int, list[Delta]] = {index: [] for index in range(len(prompts))}

    def chunks(self, prompt_index: int, delta: Delta) -> list[dict[str, Any]]:
        """See `Choices`."""
        ready = self._ready(prompt_index, delta) if self._shows_prompt_logprobs else [delta]
        return [{"choices": [choice]} for each in ready if (choice := self._choice(prompt_index, each)) is not None]

    def whole(self, finished: Sequence[tuple[int, Delta]]) -> dict[str, Any]:
        """See `Choices`."""
        choices = [choice for one in finished for document in self.chunks(*one) for choice in document["choices"]]
        return {"choices": [_UNASKED | choice for choice in choices]}

    def _ready(self, prompt_index: int, delta: Delta) -> list[Delta]:
        """Other choices wait for the first delta of choice 0 where that brings prompt log-probabilities that all of them show."""
        if prompt_index in self._prompt_logprobs:
            return [delta]
        if delta.index != 0:
            self._held[prompt_index].append(delta)
            return []
        self._prompt_logprobs[prompt_index] = delta.prompt_logprobs or []
        return [delta, *self._held.pop(prompt_index)]

    def _choice(self, prompt_index: int, delta: Delta) -> dict[str, Any] | None:
        body = self._body
        position = prompt_index * body.n + delta.index
        opens = position not in self._opened
        shows_tokens = body.return_token_ids or delta.logprobs is not None
        shows_prompt = opens and (body.echo or body.return_token_ids or body.prompt_logprobs is not None)
        if not (delta.text or delta.finish_reason or shows_prompt or (shows_tokens and delta.token_ids)):
            return None
        self._opened.add(position)
        echo = opens and body.echo
        choice: dict[str, Any] = {
            "index": position,
            "text": self._prompt_text(prompt_index) + delta.text if echo else delta.text,
            "logprobs": None if body.logprobs is None else self._logprobs(prompt_index, position, delta, body.logprobs, echo=echo),
            "finish_reason": delta.finish_reason,
        }
        if delta.finish_reason is not None:
            choice["stop_reason"] = delta.stop_reason
        if body.return_token_ids:
            choice["token_ids"] = delta.token_ids
        return choice | self._opening(prompt_index) if opens else choice

    def _opening(self, prompt_index: int) -> dict[str, Any]:
        opening: dict[str, Any] = {}
        if self._body.return_token_ids:
            opening["prompt_token_ids"] = self._prompts[prompt_index].token_ids
        if self._body.prompt_logprobs is not None:
            opening["prompt_logprobs"] = prompt_logprobs(self._tokenizer, self._prompt_logprobs[prompt_index])
        return opening

    def _logprobs(self, prompt_index: int, position: int, delta: Delta, num_top: int, *, echo: bool) -> dict[str, Any]:
        if position not in self._formatters:
            echoed = self._prompt_text(prompt_index) if echo else ""
            self._formatters[position] = CompletionLogprobs(
                self._tokenizer,
                num_top,
                echoed=echoed,
                skip_special_tokens=self._body.skip_special_tokens,
                as_ids=self._body.return_tokens_as_token_ids,
            )
        token_ids, entries = delta.token_ids, list[TokenLogprobs | None](delta.logprobs or ())
        if echo:
            token_ids = self._prompts[prompt_index].token_ids + token_ids
            entries = self._prompt_logprobs[prompt_index] + entries
        return self._formatters[position].format(token_ids, entries)

    def _prompt_text(self, prompt_index: int) -> str:
        prompt = self._prompts[prompt_index]
        return self._tokenizer.decode(prompt.token_ids, skip_special_tokens=False) if prompt.text is None else prompt.text
