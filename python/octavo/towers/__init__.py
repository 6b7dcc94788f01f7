"""Vision towers: what turns a picture's patches into rows that a decoder reads in place of embeddings; one file per `model_type`.

A tower is a recorded graph, as a decoder is. Its tokens are patches, its sequences tiles; its output "media" has a row for each
placeholder in the prompt. `multimodal/<model_type>.py` prepares what it reads.
"""

from __future__ import annotations

from typing import Protocol

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor
from octavo.plugins import available, load

__all__ = ["Tower", "tower_class"]


class Tower(Protocol):
    """Patches in, rows for a decoder out.

    Attributes:
        tile_patches: most patches of a tile.
        unused: beginnings of the names of tensors that it leaves alone.
    """

    tile_patches: int
    unused: tuple[str, ...]

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        """`config`: config.json, whole. Raises `CheckpointError` for keys or tensors that make no sense."""
        ...

    def forward(self, step: Step) -> Tensor:
        """Return [M, E], E the decoder's hidden size."""
        ...


def tower_class(model_type: str) -> type[Tower] | None:
    """The class of the towers of a model_type; None where there is none."""
    return load("octavo.towers", model_type).Tower if model_type in available("octavo.towers") else None
