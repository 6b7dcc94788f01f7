"""Executor for processors: the forward pass recorded once as a graph, lowered to C++ calls, replayed for every step. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import CpuProgram, Graph, KVCache, ThreadPool
from octavo._runtime import Batch
from octavo.checkpoint import Checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.ops.record import RecordOps
from octavo.runner.axis_positions import positions_by_axis
from octavo.runner.executor import CacheGroupBytes, StepShape, build_model
from octavo.runner.media_rows import MediaRows
from octavo.runner.packed_placement import PackedPlacement
from octavo.step import BlockCopy

__all__ = ["StepProgramExecutor"]


class StepProgramExecutor:
    """Runs a model's step program on a thread pool.

    Args:
        arithmetic: see `PackedPlacement`.
        sized: given the model's cache groups, the shape with the blocks that fit, asked once the weights are placed; None: `shape` itself.

    Attributes:
        shape: what it was built for.
    """

    def __init__(
        self,
        config: ModelConfig,
        checkpoint: Checkpoint,
        shape: StepShape,
        pool: ThreadPool,
        arithmetic: str = "exact",
        sized: Callable[[list[CacheGroupBytes]], StepShape] | None = None,
    ) -> None:
        self._num_layers, self._num_heads = config.num_layers, config.num_heads
        graph = Graph()
        model = build_model(config, checkpoint, PackedPlacement(pool, arithmetic), RecordOps(graph), shape)
        outputs = model.outputs(None)
        for name, value in outputs.items():
            graph.output(name, value)
        self._outputs = tuple(outputs)
        self._has_token_types = "token_types" in graph.inputs
        self._reads_media = "media" in graph.inputs
        self._has_axes = "axis_positions" in graph.inputs
        self.shape = shape = shape if sized is None else sized(_cache_groups(graph, shape))
        self.caches = [
            KVCache(
                group.num_layers,
                shape.pool(index).num_blocks,
                shape.block_size,
                group.kv_heads,
                group.head_dim,
                shape.kv_cache_dtype,
                group.latent_dim,
            )
            for index, group in enumerate(graph.cache_groups)
        ]
        limits = {"tokens": shape.max_num_tokens, "logits": shape.max_num_logits, "sequences": shape.max_num_seqs}
        num_state_rows = shape.max_num_seqs + shape.num_snapshots if graph.states else 0
        self.program = CpuProgram(graph, pool, self.caches, limits, num_state_rows)

    def execute(
        self, batch: Batch, media: Sequence[MediaRows] = (), axis_positions: NDArray[np.int32] | None = None
    ) -> NDArray[np.float32]:
        """See `ForwardPass.execute`."""
        if self._reads_media:
            is_media = np.zeros((len(batch.token_ids), 1), np.int32)
            for first_token, rows in media:
                self.program.write_input("media", rows, first_token)
                is_media[first_token : first_token + len(rows)] = 1
            self.program.write_input("is_media", is_media)
        if self._has_axes:
            self.program.write_input("axis_positions", positions_by_axis(batch, axis_positions))
        return self.program.run(batch)

    def pool(self, batch: Batch, token_types: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """See `ForwardPass.pool`."""
        if self._has_token_types:
            self.program.write_input("token_types", token_types.reshape(-1, 1))
        if self._has_axes:
            self.program.write_input("axis_positions", positions_by_axis(batch, None))
        self.program.run(batch, self._outputs[0])
        return {name: self.program.output(name) for name in self._outputs}

    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        """See `ForwardPass.copy_blocks`."""
        for group, source, destination in copies:
            caches = self.caches if len(self.shape.block_pools) == 1 else [self.caches[group]]  # one pool: all share its numbers
            for cache in caches:
                cache.copy_block(source, destination)

    def copy_states(self, row: int, source_row: int) -> None:
        """See `ForwardPass.copy_states`."""
        self.program.copy_states(row, source_row)

    def write_source(self, row: int, rows: NDArray[np.float32]) -> None:
        """See `ForwardPass.write_source`."""
        for layer, of_layer in enumerate(np.split(rows, self._num_layers, axis=1)):
            self.program.write_cross(layer, row, np.ascontiguousarray(of_layer), self._num_heads)

    def profile(self) -> dict[str, tuple[int, float]]:
        """See `ForwardPass.profile`."""
        return self.program.profile()


def _cache_groups(graph: Graph, shape: StepShape) -> list[CacheGroupBytes]:
    """What a block of each cache group needs, and what a sequence's states do."""
    states = [CacheGroupBytes(None, 4 * sum(graph.states), per_sequence=True)] if graph.states else []
    return states + [
        CacheGroupBytes(
            group.window,
            KVCache.bytes_per_block(
                group.num_layers, shape.block_size, group.kv_heads, group.head_dim, shape.kv_cache_dtype, group.latent_dim
            ),
        )
        for group in graph.cache_groups
    ]
