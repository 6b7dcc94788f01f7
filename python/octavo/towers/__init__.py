"""Vision towers: what turns a picture's patches into rows that a decoder reads in place of embeddings; one file per `model_type`, that
of the whole model, or of its `vision_config` where the same decoders come with several towers (Pixtral's in LLaVA's place).

A tower is a recorded graph, as a decoder is. Its tokens are patches, its sequences tiles; its output "media" has a row for each
placeholder in the prompt. `multimodal/<model_type>.py` prepares what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from octavo.checkpoint import Checkpoint
from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.media_family import media_family
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor
from octavo.plugins import load

__all__ = ["Tower", "media_levels", "tower_class"]


class Tower(Protocol):
    """Patches in, rows for a decoder out.

    Attributes:
        tile_patches: most patches of a tile.
        tile_windows: most windows that a tile is cut into; 1 where there are none.
        unused: beginnings of the names of tensors that it leaves alone.
    """

    tile_patches: int
    tile_windows: int
    unused: tuple[str, ...]

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        """`config`: config.json, whole. Raises `CheckpointError` for keys or tensors that make no sense."""
        ...

    def forward(self, step: Step) -> Tensor | tuple[Tensor, ...]:
        """Return [M, E], E the decoder's hidden size; of `media_levels` several."""
        ...


def tower_class(config: Mapping[str, Any]) -> type[Tower] | None:
    """The class of the tower of a model; None where there is none. `config`: config.json, whole."""
    name = media_family("octavo.towers", config)
    return None if name is None else load("octavo.towers", name).Tower


def media_levels(checkpoint: Checkpoint) -> int:
    """How many rows a model's tower makes for each placeholder: see `ModelConfig`. 1 where there is no tower."""
    half = checkpoint.media_half()
    if half is None:
        return 1
    vision = ConfigKeys(str(half.path / "config.json"), half.config).section("vision_config")
    by_default = [8, 16, 24] if media_family("octavo.towers", half.config) == "qwen3_vl" else []
    return 1 + len(vision.counts("deepstack_visual_indexes", by_default))
