"""From what a client wrote to token ids. A text that cannot fit is refused by its length; other long ones are tokenized in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from octavo.errors import InvalidRequestError

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext
    from octavo.server.openai.protocol import Message

__all__ = ["Prompt", "chat_prompt", "completion_prompts"]

_SHORT = 10_000  # characters; any text of so many is tokenized
_TURN = 20  # characters that a template adds to a turn, about


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids and, where the client sent a text, that text."""

    token_ids: list[int]
    text: str | None = None


async def completion_prompts(context: ServerContext, prompts: Sequence[str | list[int]], *, add_special_tokens: bool) -> list[Prompt]:
    """Return one `Prompt` per entry of a completion request."""
    return [
        await _tokenized(context, prompt, "prompt", add_special_tokens=add_special_tokens) if isinstance(prompt, str) else Prompt(prompt)
        for prompt in prompts
    ]


async def _tokenized(context: ServerContext, text: str, field: str, *, add_special_tokens: bool) -> Prompt:
    """Tokenize one text, in a thread when it is long; no longer text than the context window could hold."""
    if len(text) > _SHORT:
        await _check_length(context, text, field)
    encode = partial(context.engine.tokenizer.encode, text, add_special_tokens=add_special_tokens)
    return Prompt(await context.workers.run(len(text), encode), text)


async def _check_length(context: ServerContext, text: str, field: str) -> None:
    """Refuse a text that has more characters than the context window could hold in the vocabulary's longest tokens."""
    window = context.engine.info.max_model_len
    at_least = len(text) // await context.max_token_bytes()
    if at_least > window:
        message = f"this model's maximum context length is {window} tokens, but {field} has {len(text)} characters: over {at_least} tokens"
        raise InvalidRequestError(message, field, "context_length_exceeded")


async def chat_prompt(
    context: ServerContext,
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
    template = context.engine.tokenizer.chat_template
    if template is None:
        raise InvalidRequestError("this model has no chat template; use /v1/completions", "messages")
    for name in ("messages", "tools", "add_generation_prompt"):
        if name in template_kwargs:
            raise InvalidRequestError(f"chat_template_kwargs cannot set {name}; use the request's own field", "chat_template_kwargs")

    def render() -> str:
        turns = [_turn(message) for message in messages]
        return template.render(turns, add_generation_prompt=add_generation_prompt, **template_kwargs)

    size = sum(len(message.content) + _TURN for message in messages)
    text = await context.workers.run(size, render)
    return await _tokenized(context, text, "messages", add_special_tokens=add_special_tokens)


def _turn(message: Message) -> dict[str, Any]:
    """Templates know `system`; `developer` is OpenAI's newer name for the same role."""
    role = "system" if message.role == "developer" else message.role
    turn = {"role": role, "content": message.content, "name": message.name, "tool_call_id": message.tool_call_id}
    return {key: value for key, value in turn.items() if value is not None}
