"""From what a client wrote to token ids. A text that cannot fit is refused by its length; other long ones are tokenized in a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from octavo.errors import CONTEXT_LENGTH_EXCEEDED, CheckpointError, InvalidRequestError
from octavo.server.edge.generation import Prompt
from octavo.server.openai.pictures import place, read_images

if TYPE_CHECKING:
    from octavo.multimodal import ImageInputs
    from octavo.server.edge.context import ServerContext
    from octavo.server.openai.messages import Message
    from octavo.server.openai.protocol import TemplateOptions
    from octavo.text.chat_template import ChatTemplate

__all__ = ["chat_prompt", "completion_prompts", "truncated"]

_SHORT = 10_000  # characters; any text of so many is tokenized
_USUAL_TOKEN = 8  # characters of a token; most texts have four or five
_SLACK = 64  # tokens by which a cut may change a beginning
_TURN = 20  # characters that a template adds to a turn, about


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
    """Refuse a text that is far too long without tokenizing all of it.

    One that has more characters than the window could hold in the vocabulary's longest tokens is refused unread; of others a beginning
    is tokenized, then one twice as long and so on, until it alone has well over the window's tokens. Tokenizing takes a hundred and fifty
    bytes for each byte of text.
    """
    tokenizer, window = context.engine.tokenizer, context.engine.info.max_model_len
    at_least = len(text) // await context.max_token_bytes()
    size = _USUAL_TOKEN * window
    while at_least <= window and size < len(text):
        beginning = partial(tokenizer.encode, text[:size], add_special_tokens=False)
        num_tokens = len(await context.workers.run(size, beginning))
        if num_tokens > window + window // 4 + _SLACK:
            at_least = num_tokens
        size *= 2
    if at_least > window:
        message = f"this model's maximum context length is {window} tokens, but {field} has {len(text)} characters: over {at_least} tokens"
        raise InvalidRequestError(message, field, CONTEXT_LENGTH_EXCEEDED)


async def chat_prompt(
    context: ServerContext,
    messages: Sequence[Message],
    body: TemplateOptions,
    *,
    add_special_tokens: bool,
    variables: Mapping[str, Any] | None = None,
    tools: list[dict[str, Any]] | None = None,
) -> Prompt:
    """Render the chat template over `messages` and tokenize it.

    Args:
        variables: what the template is given where it mentions the name and the request does not set it itself.
        tools: OpenAI's definitions of the tools that the model is told of.

    Raises:
        InvalidRequestError: the model has no chat template, or the template refuses the messages.
    """
    template = _template(context, body.chat_template)
    for name in ("messages", "tools", "add_generation_prompt"):
        if name in body.chat_template_kwargs:
            raise InvalidRequestError(f"chat_template_kwargs cannot set {name}; use the request's own field", "chat_template_kwargs")
    continues = body.continue_final_message
    if continues and body.add_generation_prompt and "add_generation_prompt" in body.model_fields_set:
        raise InvalidRequestError("continue_final_message and add_generation_prompt exclude each other", "continue_final_message")
    known = {name: value for name, value in (variables or {}).items() if value is not None and name in template.source}

    images = await read_images(context, messages)

    def render() -> str:
        turns = [message.turn() for message in messages]
        if "developer" not in template.source:
            turns = [turn | {"role": "system"} if turn["role"] == "developer" else turn for turn in turns]
        generates = body.add_generation_prompt and not continues
        turns, told = context.speech.prompt_of(turns, tools or [])
        text = template.render(turns, tools=told, add_generation_prompt=generates, **{**known, **body.chat_template_kwargs})
        text = _without_end(text, messages[-1].content) if continues else text
        return _with_images(context, text, images) if images else text

    size = sum(message.size + _TURN for message in messages)
    try:
        text = await context.workers.run(size + len(body.chat_template or ""), render)
    except CheckpointError as error:
        if body.chat_template is None:
            raise
        raise InvalidRequestError(f"chat_template: {error}", "chat_template") from error
    prompt = await _tokenized(context, text, "messages", add_special_tokens=add_special_tokens)
    if not images:
        return prompt
    pictures, media = place(context, prompt.token_ids, images)
    return replace(prompt, pictures=pictures, media=media)


def _with_images(context: ServerContext, text: str, images: Sequence[ImageInputs]) -> str:
    from octavo.multimodal import with_placeholders

    assert context.engine.images is not None
    return with_placeholders(text, context.engine.images.image_token, images, "messages")


def _template(context: ServerContext, source: str | None) -> ChatTemplate:
    """Return the model's template, or the request's own where the server lets it bring one."""
    template = context.engine.tokenizer.chat_template
    if source is not None:
        if not context.config.trust_request_chat_template:
            message = "chat_template: this server renders the model's own template only; --trust-request-chat-template allows others"
            raise InvalidRequestError(message, "chat_template")
        return _own_template(source) if template is None else template.with_source(source)
    pooling = context.engine.info.pooling
    if pooling is not None:
        raise InvalidRequestError(
            f"{context.engine.info.name} makes vectors, not text ({pooling.task}); use /v1/embeddings or its like", "model"
        )
    if template is None:
        raise InvalidRequestError("this model has no chat template; use /v1/completions", "messages")
    return template


def _own_template(source: str) -> ChatTemplate:
    from octavo.text.chat_template import ChatTemplate  # with it come the tokenizer libraries, which a server has loaded by then

    return ChatTemplate({"default": source}, {})


def _without_end(text: str, content: str) -> str:
    """Cut what a template wrote behind the last turn's content, so that the answer goes on from there."""
    content = content.strip()
    end = text.rfind(content) + len(content)
    if end < len(content) or not content:
        raise InvalidRequestError("continue_final_message: the chat template does not write the last message as it is", "messages")
    return text[:end]


def truncated(prompt: Prompt, most: int | None, window: int) -> Prompt:
    """Return the last `most` tokens of `prompt`; -1: as many as the context window holds beside one output; None: all."""
    if most is None:
        return prompt
    most = window - 1 if most == -1 else most
    if len(prompt.token_ids) <= most:
        return prompt
    if prompt.media:
        raise InvalidRequestError(
            "truncate_prompt_tokens cannot cut a prompt of images or embeddings; leave it out", "truncate_prompt_tokens"
        )
    if most == 0:
        raise InvalidRequestError("truncate_prompt_tokens is 0; at least one token must stay", "truncate_prompt_tokens")
    return Prompt(prompt.token_ids[-most:])
