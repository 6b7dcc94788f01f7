"""The images of a conversation: from what messages name, or hold as data URIs, to what the model's tower reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from octavo.errors import InvalidRequestError
from octavo.types import Picture

if TYPE_CHECKING:
    from octavo.multimodal import ImageInputs
    from octavo.server.edge.context import ServerContext
    from octavo.server.openai.messages import Message
    from octavo.types import MediaSpan

__all__ = ["MAX_IMAGES", "place", "read_images"]

MAX_IMAGES = 64  # of a request
_MAX_FETCHED = 64 * 1024 * 1024  # bytes of all images of a request that are not in its body


async def read_images(context: ServerContext, messages: Sequence[Message]) -> list[ImageInputs]:
    """Decode and prepare the images of `messages`, in order, off the event loop.

    Raises:
        InvalidRequestError: the model reads none, there are too many, or one cannot be read or fetched.
    """
    named = [(f"messages[{index}].content", url) for index, message in enumerate(messages) for url in message.image_urls]
    if not named:
        return []
    processor = context.engine.images
    if processor is None:
        raise InvalidRequestError(f"{named[0][0]}: this model reads no images here; send text only", named[0][0])
    if len(named) > MAX_IMAGES:
        raise InvalidRequestError(f"messages show {len(named)} images; {MAX_IMAGES} are the most", "messages")
    from octavo.multimodal import data_uri_bytes, read_image

    fetched = await _fetched(context, named)

    def read() -> list[ImageInputs]:
        room = context.engine.info.max_model_len
        prepared = []
        for param, url in named:
            data = fetched[url] if url in fetched else data_uri_bytes(url, param)
            prepared.append(processor.process(read_image(data, param)))
            room -= prepared[-1].num_tokens
            if room < 0:
                raise InvalidRequestError(f"{param}: with this image the prompt is longer than the model's context window", param)
        return prepared

    return await context.workers.run(max(len(url) for _, url in named) + (1 << 20), read)


async def _fetched(context: ServerContext, named: Sequence[tuple[str, str]]) -> dict[str, bytes]:
    """URL -> the file, of those that are no data URIs, each once and one after the other, so that few are in memory."""
    fetched: dict[str, bytes] = {}
    for param, url in named:
        if not url.startswith("data:") and url not in fetched:
            fetched[url] = await context.media_files.read(url, param)
            if sum(map(len, fetched.values())) > _MAX_FETCHED:
                raise InvalidRequestError(f"{param}: the images of the request have more than {_MAX_FETCHED} bytes together", param)
    return fetched


def place(context: ServerContext, token_ids: list[int], images: Sequence[ImageInputs]) -> tuple[tuple[Picture, ...], tuple[MediaSpan, ...]]:
    """The pictures of a prompt, each once, and where they stand in it."""
    if not images:
        return (), ()
    from octavo.multimodal import place_images

    assert context.engine.images is not None
    return place_images(context.engine.tokenizer.encode, context.engine.images.image_token, token_ids, images)
