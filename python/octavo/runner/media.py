"""Pictures in the data plane: a tower's graph on a thread pool, and what it made of the pictures that were shown lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import CpuProgram, Graph, ThreadPool
from octavo.checkpoint import Checkpoint
from octavo.checkpoint.config_keys import ConfigKeys
from octavo.ops.record import RecordOps
from octavo.runner.axis_positions import AxisPositions, axis_positions
from octavo.runner.media_rows import MediaRows
from octavo.runner.packed_placement import PackedPlacement
from octavo.runner.weights import CheckpointWeights
from octavo.towers import tower_class
from octavo.types import MediaSpan, Picture, PromptEmbeds

__all__ = ["MediaStore", "TowerProgram"]

Floats = NDArray[np.float32]


class TowerProgram:
    """Computes a tower tile by tile.

    Attributes:
        num_bytes: of its activations, for the largest tile.
        num_levels: see `ModelConfig.media_levels`.
    """

    def __init__(self, half: Checkpoint, pool: ThreadPool) -> None:
        """Record and place the tower of a model. Raises `CheckpointError` for tensors that are missing, misshapen or unexpected."""
        keys = ConfigKeys(str(half.path / "config.json"), half.config)
        make = tower_class(half.config)
        assert make is not None
        graph = Graph()
        ops = RecordOps(graph)
        weights = CheckpointWeights(half, PackedPlacement(pool, "exact"), ops)
        tower = make(weights, keys)
        made = tower.forward(None)
        levels = made if isinstance(made, tuple) else (made,)
        self.num_levels = len(levels)
        self._outputs = ["media", *(f"media_{level}" for level in range(1, len(levels)))]
        for name, value in zip(self._outputs, levels, strict=True):
            graph.output(name, value)
        weights.finish(tower.unused)
        limits = {"tokens": tower.tile_patches, "media": tower.tile_patches, "sequences": 1, "windows": tower.tile_windows}
        self._program = CpuProgram(graph, pool, [], limits)
        self._has_axes = "axis_positions" in graph.inputs
        self.num_bytes = self._program.num_bytes

    def encode(self, picture: Picture) -> Floats:
        """The rows that a decoder reads of a picture, [M, E]; of a tower with several levels [M, levels * E]."""
        num_patches = sum(picture.tile_sizes)
        positions = np.frombuffer(picture.positions, np.int32).reshape(num_patches, -1)
        patches = np.frombuffer(picture.patches, np.float32).reshape(num_patches, -1)
        window_ends = np.cumsum(picture.window_sizes, dtype=np.int32)
        selected = np.frombuffer(picture.selected, np.int32).reshape(picture.num_rows, -1)
        made = []
        start = 0
        for size in picture.tile_sizes:
            of_tile = selected[(selected[:, 0] >= start) & (selected[:, 0] < start + size)] - start
            self._program.write_input("patches", patches[start : start + size])
            self._program.write_input("selected", np.ascontiguousarray(of_tile))
            at, window_indptr = positions[start : start + size], np.zeros(0, np.int32)
            if self._has_axes:
                self._program.write_input("axis_positions", at)
            if len(window_ends):
                ends = window_ends[(window_ends > start) & (window_ends <= start + size)] - np.int32(start)
                window_indptr = np.concatenate([np.zeros(1, np.int32), ends])
            places = np.ascontiguousarray(at[:, 0])
            self._program.run_tower(places, np.array([0, size], np.int32), len(of_tile), window_indptr)
            made.append(np.concatenate([self._program.output(name) for name in self._outputs], axis=1))
            start += size
        return np.concatenate(made)


class MediaStore:
    """What a tower made of pictures: kept while rows show them, and afterwards as long as there is room, the latest last."""

    def __init__(self, tower: TowerProgram | None, max_bytes: int) -> None:
        """`tower`: None where rows show no pictures, but embeddings that clients give."""
        self._tower = tower
        self._max_bytes = max_bytes
        self._pictures: OrderedDict[bytes, Floats] = OrderedDict()
        self._axes: dict[int, AxisPositions] = {}  # of rows that show pictures with a grid
        self._shown: dict[int, list[tuple[int, Floats]]] = {}  # row -> (position, rows of a tower), in order

    def start_row(self, row: int, pictures: Sequence[Picture | PromptEmbeds], media: Sequence[MediaSpan]) -> None:
        """A row that shows pictures begins: computes those that are not there."""
        of_row = {picture.key: self.rows_of(picture) for picture in pictures}
        axes = axis_positions(media, {picture.key: picture for picture in pictures if isinstance(picture, Picture)})
        if axes is not None:
            self._axes[row] = axes
        self._shown[row] = [(span.position, of_row[span.key][span.first : span.first + span.length]) for span in media]

    def rows_of(self, picture: Picture | PromptEmbeds) -> Floats:
        """What the tower makes of a picture, [M, E]; kept for the next one who asks, as long as there is room."""
        if isinstance(picture, PromptEmbeds):
            given = np.frombuffer(picture.rows, np.float32).reshape(picture.num_rows, -1)
            levels = 1 if self._tower is None else self._tower.num_levels
            return given if levels == 1 else np.pad(given, ((0, 0), (0, (levels - 1) * given.shape[1])))  # nothing is added behind layers
        assert self._tower is not None
        rows = self._pictures.get(picture.key)
        if rows is None:
            rows = self._pictures[picture.key] = self._tower.encode(picture)
        self._pictures.move_to_end(picture.key)
        num_bytes = sum(known.nbytes for known in self._pictures.values())
        while num_bytes > self._max_bytes:
            _, oldest = self._pictures.popitem(last=False)
            num_bytes -= oldest.nbytes
        return rows

    def fork_row(self, row: int, source_row: int) -> None:
        """A row goes on from another one's tokens, or from its own."""
        if source_row in self._shown:
            self._shown[row] = self._shown[source_row]
        if source_row in self._axes:
            self._axes[row] = self._axes[source_row]

    def end_row(self, row: int) -> None:
        """A row ends, whether it showed pictures or not."""
        self._shown.pop(row, None)
        self._axes.pop(row, None)

    def axis_positions(self, rows: Sequence[int], num_computed: Sequence[int], num_scheduled: Sequence[int]) -> NDArray[np.int32] | None:
        """int32 [T, 3]: time, row and column of a step's tokens; None where each token's is its place in the sequence."""
        if not self._axes:
            return None
        plain = AxisPositions(np.zeros((0, 3), np.int32), 0)
        steps = zip(rows, num_computed, num_scheduled, strict=True)
        return np.concatenate([self._axes.get(row, plain).of(start, count) for row, start, count in steps])

    def of_step(self, rows: Sequence[int], num_computed: Sequence[int], num_scheduled: Sequence[int]) -> list[MediaRows]:
        """What belongs in place of a step's placeholder tokens."""
        if not self._shown:
            return []
        found = []
        first_token = 0
        for row, start, count in zip(rows, num_computed, num_scheduled, strict=True):
            for position, picture in self._shown.get(row, ()):
                first, last = max(start, position), min(start + count, position + len(picture))
                if first < last:
                    found.append(MediaRows(first_token + first - start, picture[first - position : last - position]))
            first_token += count
        return found
