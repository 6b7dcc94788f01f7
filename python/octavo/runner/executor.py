"""What runs the steps of one device: the executor's protocol, the shape of a step, and how a model is built.

    LocalRunner (the thread, the order) --plan--> Executor.launch .. Executor.collect --> StepResult

Sampling is inside the executor, beside the logits. A device that computes on its own has several steps launched before the first is
collected (`depth`); a processor computes in `launch` and hands over in `collect`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from octavo._runtime import Batch
from octavo.checkpoint import Checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.models import model_class
from octavo.models._decoder import Decoder
from octavo.models._pooled import PooledModel
from octavo.ops.ops import Ops
from octavo.runner.media_rows import MediaRows
from octavo.runner.weights import CheckpointWeights, Placement
from octavo.step import BlockCopy, Command, StepPlan, StepResult

__all__ = ["BlockPoolShape", "CacheGroupBytes", "Executor", "ForwardPass", "StepShape", "build_model"]


class CacheGroupBytes(NamedTuple):
    """What a cache group of the model needs: layers that keep the same tokens.

    Attributes:
        window: tokens that a query sees, its own included; None: all.
        block_bytes: of one block of all its layers.
        per_sequence: whether it keeps a state for each running sequence, of so many bytes, instead of blocks.
    """

    window: int | None
    block_bytes: int
    per_sequence: bool = False


class BlockPoolShape(NamedTuple):
    """The blocks of a pool, and the window of the layers that use it (None: they see all tokens)."""

    num_blocks: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class StepShape:
    """The largest step, and the KV cache's size.

    Attributes:
        max_num_seqs: sequences, R.
        max_num_tokens: tokens, T.
        max_num_logits: rows whose logits are computed, L.
        max_model_len: tokens of a sequence.
        num_blocks: pages of the KV cache, of its largest pool; 0: nothing is cached.
        block_size: tokens in a page.
        kv_cache_dtype: element type of the pages: fp32, bf16, fp16 or int8.
        keeps_states: whether layers keep a state for each row.
        num_snapshots: copies of a row's states, in rows behind the others'; before the model is sized, the most that are wanted.
        pools: of each cache group, in the order of the model's; or one, whose block numbers all groups share.
    """

    max_num_seqs: int
    max_num_tokens: int
    max_num_logits: int
    max_model_len: int
    num_blocks: int
    block_size: int
    kv_cache_dtype: str = "fp32"
    pools: tuple[BlockPoolShape, ...] = ()
    keeps_states: bool = False
    num_snapshots: int = 0

    def pool(self, group: int) -> BlockPoolShape:
        """The pool of a cache group of the model."""
        return self.block_pools[group if len(self.pools) > 1 else 0]

    @property
    def block_pools(self) -> tuple[BlockPoolShape, ...]:
        """`pools`; where it is empty, one of `num_blocks`, or none of a model that caches nothing."""
        return self.pools or (BlockPoolShape(self.num_blocks),) * bool(self.num_blocks)


class Executor(Protocol):
    """Runs plans on one device, in order. All calls on one thread, the runner's.

    A fault of one row (parameters that cannot be used, logits that are not finite) is an entry of `StepResult.errors`; what
    `launch` and `collect` raise is a fault of the device or of the plan.

    Attributes:
        depth: steps that may be launched before the first of them is collected.
    """

    depth: int

    def bind_thread(self) -> None:
        """Called once, before anything else, on the thread that will make all other calls."""
        ...

    def launch(self, plan: StepPlan) -> None:
        """Change the rows as the plan says and begin to compute it. At most `depth` steps are launched and not collected."""
        ...

    def collect(self) -> StepResult:
        """The result of the oldest step that is launched and not collected; waits for it."""
        ...

    def finished(self) -> bool:
        """Whether `collect` would not wait. Asked while a step is launched."""
        ...

    def idle(self) -> bool:
        """Do one piece of what later steps would wait for, at most tenths of a second; whether it found one. Nothing is launched."""
        ...

    def call(self, command: Command) -> Any:
        """Run a command while no step is launched, and return its answer."""
        ...

    def close(self) -> None:
        """Wait for what is launched and let the device go. Idempotent."""
        ...


class ForwardPass(Protocol):
    """A model whose logits reach the host."""

    def execute(
        self, batch: Batch, media: Sequence[MediaRows] = (), axis_positions: NDArray[np.int32] | None = None
    ) -> NDArray[np.float32]:
        """Return float32 [L, V], valid until the next call; writes the step's keys and values to the KV cache.

        Args:
            media: what stands in place of embeddings; of a model that reads pictures.
            axis_positions: int32 [T, 3], of a model whose positions have axes; None: each token's place in its sequence, on all of them.
        """
        ...

    def pool(self, batch: Batch, token_types: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """The vectors that a model that makes such makes of a step, valid until the next call: see `PooledModel`."""
        ...

    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        """Copy blocks of the KV cache, one after the other."""
        ...

    def copy_states(self, row: int, source_row: int) -> None:
        """Give a row that begins the states that another row's layers keep; nothing happens in models without."""
        ...

    def write_source(self, row: int, rows: NDArray[np.float32]) -> None:
        """Give a row that begins what an encoder made of its own input, [M, layers * 2 * E]; of models with `source_positions`."""
        ...

    def profile(self) -> dict[str, tuple[int, float]]:
        """Op -> (calls, seconds) since the last call; empty unless profiling."""
        ...


def build_model(config: ModelConfig, checkpoint: Checkpoint, placement: Placement, ops: Ops, shape: StepShape) -> Decoder | PooledModel:
    """Build the model with its weights placed. Raises `CheckpointError` for tensors that are missing, misshapen or unexpected."""
    weights = CheckpointWeights(checkpoint, placement, ops)
    model: Any = model_class(config.model_type)(weights, config, shape.max_model_len)
    if config.pooling is not None:
        model = PooledModel(weights, config, config.pooling, model)
    weights.finish(model.unused)
    return model
