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
from octavo.runner.media_rows import MediaRows
from octavo.runner.packed_placement import PackedPlacement
from octavo.runner.weights import CheckpointWeights
from octavo.towers import tower_class
from octavo.types import MediaSpan, Picture, PromptEmbeds

__all__ = ["MediaStore", "TowerProgram"]

Floats = NDArray[np.float32]


class TowerProgram:
    """Computes a tower tile by tile."""

    def __init__(self, half: Checkpoint, pool: ThreadPool) -> None:
        """Record and place the tower of a model. Raises `CheckpointError` for tensors that are missing, misshapen or unexpected."""
        keys = ConfigKeys(str(half.path / "config.json"), half.config)
        make = tower_class(half.config)
        assert make is not None
        graph = Graph()
        ops = RecordOps(graph)
        weights = CheckpointWeights(half, PackedPlacement(pool, "exact"), ops)
        tower = make(weights, keys)
        graph.output("media", tower.forward(None))
        weights.finish(tower.unused)
        self._program = CpuProgram(graph, pool, [], {"tokens": tower.tile_patches, "media": tower.tile_patches, "sequences": 1})

    def encode(self, picture: Picture) -> Floats:
        """The rows that a decoder reads of a picture, [M, E]."""
        positions = np.frombuffer(picture.positions, np.int32)
        patches = np.frombuffer(picture.patches, np.float32).reshape(len(positions), -1)
        selected = np.frombuffer(picture.selected, np.int32).reshape(picture.num_rows, -1)
        made = []
        start = 0
        for size in picture.tile_sizes:
            of_tile = selected[(selected[:, 0] >= start) & (selected[:, 0] < start + size)] - start
            self._program.write_input("patches", patches[start : start + size])
            self._program.write_input("selected", np.ascontiguousarray(of_tile))
            rows = self._program.run_tower(positions[start : start + size], np.array([0, size], np.int32), len(of_tile))
            made.append(rows.copy())
            start += size
        return np.concatenate(made)


class MediaStore:
    """What a tower made of pictures: kept while rows show them, and afterwards as long as there is room, the latest last."""

    def __init__(self, tower: TowerProgram | None, max_bytes: int) -> None:
        """`tower`: None where rows show no pictures, but embeddings that clients give."""
        self._tower = tower
        self._max_bytes = max_bytes
        self._pictures: OrderedDict[bytes, Floats] = OrderedDict()
        self._shown: dict[int, list[tuple[int, Floats]]] = {}  # row -> (position, rows of a tower), in order

    def start_row(self, row: int, pictures: Sequence[Picture | PromptEmbeds], media: Sequence[MediaSpan]) -> None:
        """A row that shows pictures begins: computes those that are not there."""
        of_row = {picture.key: self.rows_of(picture) for picture in pictures}
        self._shown[row] = [(span.position, of_row[span.key][span.first : span.first + span.length]) for span in media]

    def rows_of(self, picture: Picture | PromptEmbeds) -> Floats:
        """What the tower makes of a picture, [M, E]; kept for the next one who asks, as long as there is room."""
        if isinstance(picture, PromptEmbeds):
            return np.frombuffer(picture.rows, np.float32).reshape(picture.num_rows, -1)
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

    def end_row(self, row: int) -> None:
        """A row ends, whether it showed pictures or not."""
        self._shown.pop(row, None)

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
