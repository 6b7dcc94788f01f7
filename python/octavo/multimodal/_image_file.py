"""An image file's bytes to pixels, within limits that are checked before a pixel is decoded."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from octavo.errors import ConfigError, InvalidRequestError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_PIXELS", "data_uri_bytes", "pixels_of", "read_image"]

MAX_PIXELS = 1 << 25
"""Most pixels of an image file, 33.5 million: what a camera makes, and 100 MB once decoded."""
_MAX_SIDE = 1 << 15
_MAX_RATIO = 200  # of the sides: longer strips round to nothing when they are scaled
_SHOWN = 40  # characters of a bad URL that an error repeats
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def read_image(data: bytes, param: str) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG, WebP, GIF (its first picture) or BMP file to RGB, upright as its EXIF orientation says.

    Args:
        param: field of the request that errors name.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InvalidRequestError: another format, a damaged file, or more than `MAX_PIXELS` pixels.
        ConfigError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ConfigError("images need Pillow, which is not installed; pip install octavo[vision]") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about sizes: ours is an error, and stricter
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                _check_size(image, param)
                image.draft("RGB", image.size)
                return pixels_of(ImageOps.exif_transpose(image))
    except InvalidRequestError:
        raise
    except Exception as error:  # a decoder's: OSError, SyntaxError, struct.error and others, one for each way of being damaged
        reason = "not an image" if type(error).__name__ == "UnidentifiedImageError" else f"a damaged image ({error})"
        raise InvalidRequestError(f"{param} holds {reason}; it must be a {', '.join(_FORMATS)} file", param) from error


def data_uri_bytes(url: str, param: str) -> bytes:
    """What a base64 data URI (RFC 2397) holds. Raises `InvalidRequestError` for anything else."""
    head, comma, data = url.partition(",")
    if not url.startswith("data:") or not comma:
        raise InvalidRequestError(f"{param} has the image {url[:_SHOWN]!r}; it must be a data URI: data:image/png;base64,...", param)
    if not head.endswith(";base64"):
        raise InvalidRequestError(f"{param} has a data URI that is not base64: it must begin with data:image/...;base64,", param)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(f"{param} has a data URI that is not valid base64: {error}", param) from error


def _check_size(image: Image, param: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > _MAX_SIDE:
        most = f"{MAX_PIXELS} pixels and {_MAX_SIDE} on a side"
        raise InvalidRequestError(f"{param}: the image has {width} x {height} pixels; {most} are the most. Send a smaller one", param)
    if max(width, height) > _MAX_RATIO * min(width, height):
        raise InvalidRequestError(
            f"{param}: the image has {width} x {height} pixels; one side may be {_MAX_RATIO} times the other at most", param
        )


def pixels_of(image: Image) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] of a Pillow image of any mode."""
    return np.asarray(_rgb(image))


def _rgb(image: Image) -> Image:
    """Without transparency: it lies on white, as on a page."""
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    page = with_alpha.copy()
    page.paste("white", (0, 0, *with_alpha.size))
    page.alpha_composite(with_alpha)
    return page.convert("RGB")
