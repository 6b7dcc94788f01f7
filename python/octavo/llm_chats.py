"""Conversations of the offline API, with the images that they show: from messages to a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo.errors import InvalidRequestError
from octavo.llm_prompts import ReadPrompt

if TYPE_CHECKING:
    from octavo.engine.port import Engine
    from octavo.multimodal import ImageInputs

__all__ = ["read_chat"]

_IMAGE_KEYS = {"image_url": "image_url", "image": "image", "image_pil": "image_pil"}


def read_chat(engine: Engine, messages: Sequence[dict[str, Any]], variables: dict[str, Any]) -> ReadPrompt:
    """Render the model's chat template and tokenize it.

    A part of a message that shows an image is `{"type": "image_url", "image_url": {"url": "data:..."}}`, as clients of a server send it,
    or `{"type": "image", "image": ...}` with a Pillow image, an array uint8 [height, width, 3], the bytes of an image file, or its path.

    Raises:
        InvalidRequestError: the model has no chat template, the template refuses, or an image cannot be read or shown.
    """
    template = engine.tokenizer.chat_template
    if template is None:
        raise InvalidRequestError("this model has no chat template; use generate() with a prompt of your own", "messages")
    images: list[ImageInputs] = []
    turns = [{**message, "content": _with_images(engine, message.get("content"), images)} for message in messages]
    text = template.render(turns, **variables)
    if not images:
        return ReadPrompt(engine.tokenizer.encode(text, add_special_tokens=False), text)
    from octavo.multimodal import place_images, with_placeholders

    assert engine.images is not None
    image_token = engine.images.image_token
    text = with_placeholders(text, image_token, images, "messages")
    token_ids = engine.tokenizer.encode(text, add_special_tokens=False)
    return ReadPrompt(token_ids, text, *place_images(engine.tokenizer.encode, image_token, token_ids, images))


def _with_images(engine: Engine, content: Any, images: list[ImageInputs]) -> Any:
    """The content as templates take it; images go to the end of `images`."""
    if not isinstance(content, list):
        return content
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _IMAGE_KEYS:
            parts.append(part)
            continue
        if engine.images is None:
            raise InvalidRequestError("this model reads no images here; give it text only", "messages")
        images.append(engine.images.process(_pixels(part.get(_IMAGE_KEYS[kind]))))
        parts.append({"type": "image"})
    return parts


def _pixels(image: Any) -> Any:
    """uint8 [height, width, 3] of an image in any form that a script may hold it in."""
    import numpy as np

    from octavo.multimodal import data_uri_bytes, pixels_of, read_image

    if isinstance(image, dict):
        image = image.get("url")
    if isinstance(image, str) and image.startswith(("data:", "http:", "https:")):
        image = data_uri_bytes(image, "messages")
    elif isinstance(image, (str, PathLike)):
        image = _file_bytes(Path(image))
    if isinstance(image, bytes):
        return read_image(image, "messages")
    if hasattr(image, "convert"):
        return pixels_of(image)
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InvalidRequestError(
            f"an image is of type {type(image).__name__}; it can be a Pillow image, an array uint8 [height, width, 3], bytes or a path",
            "messages",
        )
    return array


def _file_bytes(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"cannot read the image {path}: {error.strerror or error}", "messages") from error
