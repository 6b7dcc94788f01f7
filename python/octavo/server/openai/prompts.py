"""From what a client wrote to token ids. Long texts are tokenized in a thread, so that the event loop keeps breathing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from octavo.errors import InvalidRequestError

if TYPE_CHECKING:
    from octavo.server.openai.protocol import Message
    from octavo.text.tokenizer import Tokenizer

__all__ = ["Prompt", "chat_prompt", "completion_prompts", "run_sized"]

_LONG_TEXT = 10_000  # characters; below, a thread's hand-over costs more than it saves
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids and, where the client sent a text, that text."""

    token_ids: list[int]
    text: str | None = None


async def run_sized(size: int, work: Callable[[], ResultT]) -> ResultT:
    """Run `work` here when its input is short, in a thread when `size` (characters or tokens) is large."""
    return await asyncio.to_thread(work) if size > _LONG_TEXT else work()


async def completion_prompts(tokenizer: Tokenizer, prompts: Sequence[str | list[int]], *, add_special_tokens: bool) -> list[Prompt]:
    """Return one `Prompt` per entry of a completion request."""

    def encode() -> list[Prompt]:
        return [
            Prompt(tokenizer.encode(prompt, add_special_tokens=add_special_tokens), prompt) if isinstance(prompt, str) else Prompt(prompt)
            for prompt in prompts
        ]

    return await run_sized(sum(len(prompt) for prompt in prompts if isinstance(prompt, str)), encode)


async def chat_prompt(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool,
    add_special_tokens: bool,
    template_kwargs: dict[str, Any],
) -> Prompt:
    """Render the chat template over `messages` and tokenize it.

    Raises:
        InvalidRequestError: the model has no chat template, or the template refuses the messages.
    """
    template = tokenizer.chat_template
    if template is None:
        raise InvalidRequestError("this model has no chat template; use /v1/completions", "messages")
    for name in ("messages", "tools", "add_generation_prompt"):
        if name in template_kwargs:
            raise InvalidRequestError(f"chat_template_kwargs cannot set {name}; use the request's own field", "chat_template_kwargs")

    def encode() -> Prompt:
        turns = [_turn(message) for message in messages]
        text = template.render(turns, add_generation_prompt=add_generation_prompt, **template_kwargs)
        return Prompt(tokenizer.encode(text, add_special_tokens=add_special_tokens), text)

    return await run_sized(sum(len(message.content) for message in messages), encode)


def _turn(message: Message) -> dict[str, Any]:
    """Templates know `system`; `developer` is OpenAI's newer name for the same role."""
    role = "system" if message.role == "developer" else message.role
    turn = {"role": role, "content": message.content, "name": message.name, "tool_call_id": message.tool_call_id}
    return {key: value for key, value in turn.items() if value is not None}
