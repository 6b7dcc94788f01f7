"""Pictures into a prompt: from what a chat template wrote to token ids, and which of them stand for what."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

from octavo.errors import CheckpointError, InvalidRequestError
from octavo.multimodal._image_inputs import ImageInputs
from octavo.types import MediaSpan, Picture

__all__ = ["picture_of", "place_images", "place_pictures", "with_placeholders"]


class Encode(Protocol):
    """`Tokenizer.encode`."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


def with_placeholders(text: str, image_token: str, pictures: Sequence[ImageInputs], param: str) -> str:
    """The text with what stands for each picture in place of its token.

    Raises:
        InvalidRequestError: as many tokens as pictures are needed: the template leaves pictures out, or a message spells the token.
    """
    pieces = text.split(image_token)
    if len(pieces) - 1 != len(pictures):
        raise InvalidRequestError(
            f"{param} have {len(pictures)} images, but the prompt has {len(pieces) - 1} times {image_token}, which stands for one; "
            "leave it out of texts, and check that the chat template shows images of these roles",
            param,
        )
    return pieces[0] + "".join(picture.text + piece for picture, piece in zip(pictures, pieces[1:], strict=True))


def picture_of(inputs: ImageInputs) -> Picture:
    """The same as plain bytes, with a key of its content."""
    patches, positions, selected = inputs.patches.tobytes(), inputs.positions.tobytes(), inputs.selected.tobytes()
    digest = blake2b(repr((inputs.tile_sizes, inputs.window_sizes, inputs.grid)).encode(), digest_size=16)
    for array in (patches, positions, selected):
        digest.update(array)
    return Picture(digest.digest(), patches, positions, selected, inputs.tile_sizes, inputs.num_tokens, inputs.grid, inputs.window_sizes)


def place_images(
    encode: Encode, image_token: str, token_ids: Sequence[int], images: Sequence[ImageInputs]
) -> tuple[tuple[Picture, ...], tuple[MediaSpan, ...]]:
    """The pictures of a prompt, each once, and where they stand in it. `encode`: `Tokenizer.encode`."""
    image_token_ids = encode(image_token, add_special_tokens=False)
    if len(image_token_ids) != 1:
        raise CheckpointError(f"the tokenizer does not know {image_token}, which stands for an image; its files are of another model")
    pictures = [picture_of(image) for image in images]
    spans = place_pictures(token_ids, image_token_ids[0], pictures)
    return tuple({picture.key: picture for picture in pictures}.values()), spans


def place_pictures(token_ids: Sequence[int], image_token_id: int, pictures: Sequence[Picture]) -> tuple[MediaSpan, ...]:
    """Where the pictures stand: the next `num_rows` placeholders are each one's, whatever stands between them.

    Raises:
        CheckpointError: the tokenizer does not keep the placeholder whole, so the files do not belong together.
    """
    at = [position for position, token_id in enumerate(token_ids) if token_id == image_token_id]
    if len(at) != sum(picture.num_rows for picture in pictures):
        raise CheckpointError(f"the tokenizer made {len(at)} image tokens of {sum(picture.num_rows for picture in pictures)} in the text")
    spans: list[MediaSpan] = []
    taken = 0
    for picture in pictures:
        spans += _runs(at[taken : taken + picture.num_rows], image_token_id, picture.key)
        taken += picture.num_rows
    return tuple(spans)


def _runs(positions: Sequence[int], token_id: int, key: bytes) -> list[MediaSpan]:
    """Consecutive positions as one span each."""
    spans: list[MediaSpan] = []
    for row, position in enumerate(positions):
        if spans and position == spans[-1].position + spans[-1].length:
            spans[-1] = spans[-1]._replace(length=spans[-1].length + 1)
        else:
            spans.append(MediaSpan(position, 1, token_id, key, row))
    return spans
