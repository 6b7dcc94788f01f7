"""Executor on torch tensors, op by op: runs on any torch device, and is the oracle of every other executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from octavo._kernels import dequantize
from octavo._runtime import Batch
from octavo.checkpoint import Checkpoint, RawTensor
from octavo.checkpoint.model_config import ModelConfig
from octavo.checkpoint.raw_linear import RawLinear
from octavo.ops.cache import CacheSpec, LatentKV
from octavo.ops.reference import ReferenceOps, TorchStep
from octavo.ops.reference_kv import TorchKVCache
from octavo.runner.axis_positions import positions_by_axis
from octavo.runner.executor import CacheGroupBytes, StepShape, build_model
from octavo.runner.media_rows import MediaRows
from octavo.step import BlockCopy

__all__ = ["EagerExecutor", "TorchPlacement"]

_ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


class TorchPlacement:
    """Everything dequantised to float32 on the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def linear(self, parts: list[RawLinear]) -> torch.Tensor:
        return torch.cat([self.embedding(part.values()) for part in parts])

    def embedding(self, table: RawTensor) -> torch.Tensor:
        rows, cols = table.shape
        return self.array(dequantize(table.data, table.format, rows * cols)).view(rows, cols)

    def experts(self, experts: list[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return experts

    def array(self, values: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)


class EagerExecutor:
    """Runs the model's forward pass as it is written.

    Args:
        device: a torch device such as "cpu" or "cuda:0".
        sized: given the model's cache groups, the shape with the blocks that fit, asked once the weights are placed; None: `shape` itself.

    Attributes:
        shape: what it was built for.
    """

    def __init__(
        self,
        config: ModelConfig,
        checkpoint: Checkpoint,
        shape: StepShape,
        device: str,
        sized: Callable[[list[CacheGroupBytes]], StepShape] | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._block_size = shape.block_size
        ops = ReferenceOps()
        self._model = build_model(config, checkpoint, TorchPlacement(self._device), ops, shape)
        specs = ops.cache_specs
        groups = list(dict.fromkeys(specs))
        sizes = [_group_bytes(spec, specs.count(spec), shape) for spec in groups]
        if ops.state_sizes:
            sizes.append(CacheGroupBytes(None, 4 * sum(ops.state_sizes), per_sequence=True))
        self.shape = shape = shape if sized is None else sized(sizes)
        self._states = [torch.zeros(shape.max_num_seqs + shape.num_snapshots, size, device=self._device) for size in ops.state_sizes]
        # Of each layer, the pool that its block numbers are of.
        self._pools = [groups.index(spec) if len(shape.block_pools) > 1 else 0 for spec in specs]
        self._kv_caches = [
            TorchKVCache(shape.block_pools[pool].num_blocks * shape.block_size, spec, shape.kv_cache_dtype, self._device)
            for spec, pool in zip(specs, self._pools, strict=True)
        ]

    @torch.inference_mode()
    def execute(
        self, batch: Batch, media: Sequence[MediaRows] = (), axis_positions: NDArray[np.int32] | None = None
    ) -> NDArray[np.float32]:
        """See `ForwardPass.execute`."""
        step = self._step(batch)
        if media:
            at = np.concatenate([np.arange(first, first + len(rows), dtype=np.int32) for first, rows in media])
            made = torch.from_numpy(np.concatenate([rows for _, rows in media])).to(self._device)
            step = replace(step, media=(self._indices(at), made))
        if axis_positions is not None:
            step = replace(step, axis_positions=self._indices(axis_positions))
        return self._outputs(step)["logits"]

    @torch.inference_mode()
    def pool(self, batch: Batch, token_types: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """See `ForwardPass.pool`."""
        return self._outputs(replace(self._step(batch), token_types=self._indices(token_types).unsqueeze(1)))

    def _outputs(self, step: TorchStep) -> dict[str, NDArray[np.float32]]:
        return {name: value.float().cpu().numpy() for name, value in self._model.outputs(step).items()}

    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        """See `ForwardPass.copy_blocks`."""
        for group, source, destination in copies:
            for cache, pool in zip(self._kv_caches, self._pools, strict=True):
                if pool == group:
                    cache.copy_block(source, destination, self._block_size)

    def copy_states(self, row: int, source_row: int) -> None:
        """See `ForwardPass.copy_states`."""
        for state in self._states:
            state[row] = state[source_row]

    def write_source(self, row: int, rows: NDArray[np.float32]) -> None:
        """See `ForwardPass.write_source`."""
        for state, of_layer in zip(self._states, np.split(rows, len(self._states), axis=1), strict=True):
            state[row, : of_layer.size] = torch.from_numpy(np.ascontiguousarray(of_layer)).flatten().to(self._device)

    def profile(self) -> dict[str, tuple[int, float]]:
        """See `ForwardPass.profile`: ops are not timed."""
        return {}

    def _step(self, batch: Batch) -> TorchStep:
        return TorchStep(
            token_ids=self._indices(batch.token_ids),
            positions=self._indices(batch.positions),
            slot_mapping=[self._indices(slots) for slots in batch.slot_mapping],
            query_indptr=batch.query_indptr.tolist(),
            context_lens=batch.context_lens.tolist(),
            block_tables=[self._indices(tables) for tables in batch.block_tables],
            logits_indices=self._indices(batch.logits_indices),
            kv_caches=self._kv_caches,
            pools=self._pools,
            block_size=self._block_size,
            rows=batch.row_ids.tolist(),
            states=self._states,
            axis_positions=self._indices(positions_by_axis(batch, None)),
        )

    def _indices(self, values: NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(self._device)


def _group_bytes(spec: CacheSpec, num_layers: int, shape: StepShape) -> CacheGroupBytes:
    """What a block of `num_layers` layers of one spec needs."""
    per_token = spec.latent_dim + spec.rope_dim if isinstance(spec, LatentKV) else 2 * spec.kv_heads * spec.head_dim
    num_values = num_layers * shape.block_size * per_token
    return CacheGroupBytes(spec.window, num_values * _ELEMENT_BYTES.get(shape.kv_cache_dtype, 4))
