"""`chat.completion` and `chat.completion.chunk` documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from octavo.server.openai.logprobs import chat_logprobs, prompt_logprobs
from octavo.server.openai.spoken import SpokenChoice, spoken_message
from octavo.types import Delta, FinishReason

if TYPE_CHECKING:
    from octavo.parsers import Parser
    from octavo.server.edge.generation import Prompt
    from octavo.server.openai.protocol import ChatBody
    from octavo.text.tokenizer import Tokenizer

__all__ = ["ChatShape"]


class ChatShape:
    """Forms the documents of one chat request. Each choice's first chunk has the role and nothing else."""

    object_name = "chat.completion"
    chunk_object_name = "chat.completion.chunk"

    def __init__(self, tokenizer: Tokenizer, body: ChatBody, prompt: Prompt, open_parser: Callable[[], Parser | None]) -> None:
        """
        Args:
            open_parser: makes the parser of one choice's text.
        """
        self._open_parser = open_parser
        self._spoken: dict[int, SpokenChoice] = {}
        self._tokenizer = tokenizer
        self._body = body
        self._prompt = prompt
        self._opened: set[int] = set()

    def chunks(self, prompt_index: int, delta: Delta) -> list[dict[str, Any]]:
        """See `Choices`."""
        opening = [] if delta.index in self._opened else [self._open(delta)]
        spoken = self._spoken[delta.index]
        said = spoken.delta(delta.text, ends=delta.finish_reason is not None)
        shows_tokens = self._body.return_token_ids or delta.logprobs is not None
        if not (said or delta.finish_reason or (shows_tokens and delta.token_ids)):
            return opening
        return [*opening, {"choices": [self._choice(delta, {"delta": said}, called=spoken.called)]}]

    def whole(self, finished: Sequence[tuple[int, Delta]]) -> dict[str, Any]:
        """See `Choices`."""
        choices = []
        for _, delta in finished:
            message = spoken_message(self._open_parser(), delta.text, shows_reasoning=self._body.include_reasoning)
            choice = self._choice(delta, {"message": message}, called="tool_calls" in message)
            choices.append({"token_ids": None} | choice)  # clients read the keys whether they asked for them or not
        return {"choices": choices, "prompt_token_ids": None, "prompt_logprobs": None} | self._prompt_fields(
            [delta for _, delta in finished], opens=True
        )

    def _open(self, delta: Delta) -> dict[str, Any]:
        fields = self._prompt_fields([delta], opens=not self._opened)
        self._opened.add(delta.index)
        self._spoken[delta.index] = SpokenChoice(self._open_parser(), shows_reasoning=self._body.include_reasoning)
        role = {"role": "assistant", "content": ""}
        return {"choices": [{"index": delta.index, "delta": role, "logprobs": None, "finish_reason": None}]} | fields

    def _prompt_fields(self, deltas: Sequence[Delta], *, opens: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if opens and self._body.return_token_ids:
            fields["prompt_token_ids"] = self._prompt.token_ids
        for delta in deltas:
            if delta.prompt_logprobs is not None:
                fields["prompt_logprobs"] = prompt_logprobs(self._tokenizer, delta.prompt_logprobs)
        return fields

    def _choice(self, delta: Delta, content: dict[str, Any], *, called: bool) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": delta.index, **content}
        as_ids = self._body.return_tokens_as_token_ids
        choice["logprobs"] = None if delta.logprobs is None else chat_logprobs(self._tokenizer, delta.logprobs, as_ids=as_ids)
        choice["finish_reason"] = "tool_calls" if called and delta.finish_reason is FinishReason.STOP else delta.finish_reason
        if delta.finish_reason is not None:
            choice["stop_reason"] = delta.stop_reason
        if self._body.return_token_ids:
            choice["token_ids"] = delta.token_ids
        return choice
