"""The images of a conversation: from data URIs to what the model's tower reads."""

from __future__ import annotations

import base64
import binascii
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
_SHOWN = 40  # characters of a bad URL that an error repeats


async def read_images(context: ServerContext, messages: Sequence[Message]) -> list[ImageInputs]:
    """Decode and prepare the images of `messages`, in order, off the event loop.

    Raises:
        InvalidRequestError: the model reads none, there are too many, or one cannot be read.
    """
    named = [(f"messages[{index}].content", url) for index, message in enumerate(messages) for url in message.image_urls]
    if not named:
        return []
    processor = context.engine.images
    if processor is None:
        raise InvalidRequestError(f"{named[0][0]}: this model reads no images here; send text only", named[0][0])
    if len(named) > MAX_IMAGES:
        raise InvalidRequestError(f"messages show {len(named)} images; {MAX_IMAGES} are the most", "messages")
    from octavo.multimodal import read_image

    def read() -> list[ImageInputs]:
        room = context.engine.info.max_model_len
        prepared = []
        for param, url in named:
            prepared.append(processor.process(read_image(_bytes_of(url, param), param)))
            room -= prepared[-1].num_tokens
            if room < 0:
                raise InvalidRequestError(f"{param}: with this image the prompt is longer than the model's context window", param)
        return prepared

    return await context.workers.run(max(len(url) for _, url in named) + (1 << 20), read)


def _bytes_of(url: str, param: str) -> bytes:
    """What a data URI (RFC 2397) holds."""
    head, comma, data = url.partition(",")
    if not url.startswith("data:") or not comma:
        raise InvalidRequestError(
            f"{param} has the image {url[:_SHOWN]!r}; this server reads data URIs only: data:image/png;base64,...", param
        )
    if not head.endswith(";base64"):
        raise InvalidRequestError(f"{param} has a data URI that is not base64: it must begin with data:image/...;base64,", param)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(f"{param} has a data URI that is not valid base64: {error}", param) from error


def place(context: ServerContext, token_ids: list[int], images: Sequence[ImageInputs]) -> tuple[tuple[Picture, ...], tuple[MediaSpan, ...]]:
    """The pictures of a prompt, each once, and where they stand in it."""
    if not images:
        return (), ()
    from octavo.multimodal import picture_of, place_pictures

    assert context.engine.images is not None
    (image_token_id,) = context.engine.tokenizer.encode(context.engine.images.image_token, add_special_tokens=False)
    pictures = [picture_of(image) for image in images]
    spans = place_pictures(token_ids, image_token_id, pictures)
    return tuple({picture.key: picture for picture in pictures}.values()), spans
