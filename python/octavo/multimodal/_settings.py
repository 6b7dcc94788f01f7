"""preprocessor_config.json: how a model's authors prepared their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.hf_folder import read_json
from octavo.multimodal._pixels import normalised

__all__ = ["CLIP_MEAN", "CLIP_STD", "HALF", "Normalisation", "processor_keys"]

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # Radford et al. 2021
HALF = [0.5, 0.5, 0.5]


def processor_keys(folder: Path, defaults: Mapping[str, Any]) -> ConfigKeys:
    """The settings of the folder's image processor; those of its class where there is no file."""
    whole = folder / "processor_config.json"  # transformers 5 writes one file for all processors
    if whole.is_file():
        keys = ConfigKeys(str(whole), read_json(whole))
        if "image_processor" in keys:
            return ConfigKeys(str(whole), keys.section("image_processor").mapping(), defaults)
    own = folder / "preprocessor_config.json"
    return ConfigKeys(str(own), read_json(own) if own.is_file() else {}, defaults)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """From 0 .. 255 to what a tower reads."""

    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, keys: ConfigKeys, mean: list[float], std: list[float]) -> Normalisation:
        """Of a processor's settings, with its class's defaults."""
        factor = keys.positive("rescale_factor", 1 / 255) if keys.flag("do_rescale", True) else 1.0
        if not keys.flag("do_normalize", True):
            return cls(factor, (0.0,) * 3, (1.0,) * 3)
        return cls(factor, _channels(keys, "image_mean", mean), _channels(keys, "image_std", std))

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return normalised(image, self.factor, self.mean, self.std)


def _channels(keys: ConfigKeys, key: str, default: list[float]) -> tuple[float, ...]:
    return tuple(keys.numbers(key, default, size=3, least=1e-6 if key == "image_std" else 0.0))
