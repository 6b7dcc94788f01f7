"""Pictures of a request to what a model reads in their place: one file per family, named as `model_type` in config.json.

    bytes --image_file--> pixels --<family>.process--> ImageInputs: patches for the tower (`towers/`), text for the prompt

Pillow and numpy, no torch. The arithmetic is that of transformers' own Pillow processors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.media_family import media_family
from octavo.multimodal._image_file import data_uri_bytes, pixels_of, read_image
from octavo.multimodal._image_inputs import ImageInputs
from octavo.multimodal._placing import picture_of, place_images, with_placeholders
from octavo.plugins import load

__all__ = [
    "ImageInputs",
    "ImageProcessor",
    "data_uri_bytes",
    "open_image_processor",
    "picture_of",
    "pixels_of",
    "place_images",
    "read_image",
    "with_placeholders",
]


class ImageProcessor(Protocol):
    """Prepares pictures for one model.

    Attributes:
        image_token: what the chat template writes in place of a picture, and what the prompt's placeholders are.
        most_tokens: placeholders that one picture can have.
    """

    image_token: str
    most_tokens: int

    def process(self, image: NDArray[np.uint8]) -> ImageInputs:
        """Prepare a picture, uint8 [height, width, 3]."""
        ...


def open_image_processor(folder: Path, config: dict[str, Any]) -> ImageProcessor | None:
    """The processor of a model's folder; None where the model reads no pictures, or its family is not known here.

    Args:
        config: config.json, whole.

    Raises:
        CheckpointError: a setting that is missing or makes no sense.
    """
    name = media_family("octavo.multimodal", config)
    keys = ConfigKeys(str(folder / "config.json"), config)
    return None if name is None else load("octavo.multimodal", name).Processor(folder, keys)
