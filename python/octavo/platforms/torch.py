"""Any device of torch, through plain torch: the oracle, and devices that have no kernels of Octavo's."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from octavo._kernels import ThreadPool
from octavo.checkpoint import Checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.config import EngineConfig
from octavo.errors import ConfigError
from octavo.platforms._kv_share import step_bytes, with_blocks
from octavo.platforms._processor import available_memory_bytes, num_cores
from octavo.runner.executor import CacheGroupBytes, Executor, StepShape
from octavo.runner.host_executor import HostExecutor
from octavo.runner.pooling_executor import PoolingExecutor
from octavo.structured import GrammarCompiler

if TYPE_CHECKING:
    from octavo.runner.eager import EagerExecutor
    from octavo.runner.transformers_executor import TransformersExecutor

__all__ = ["Platform"]


class Platform:
    """Implements `platforms.Platform`. Tokens are drawn on the processor, by a pool of Octavo's threads."""

    max_num_seqs = 64
    max_num_batched_tokens = 256
    max_step_ms = 100.0
    backlog_steps: int | None = None
    plan_lead_ms: float | None = None
    reads_media = False
    kv_cache_dtype = "fp32"

    def __init__(self, config: EngineConfig) -> None:
        placement = config.placement
        if config.cache.kv_cache_dtype == "fp8":
            raise ConfigError("--kv-cache-dtype fp8 is for GPUs; on a processor int8 takes as little memory")
        if placement.pin_threads or placement.numa_node is not None:
            raise ConfigError(
                "--pin-threads and --numa-node place Octavo's own threads, which --executor eager does not use; leave them out"
            )
        if find_spec("torch") is None:
            raise ConfigError("--executor eager needs torch, which is not installed; install octavo[torch], or use --executor step_program")
        self._config = config
        self._device = "cpu" if placement.device == "auto" else placement.device
        self._pool = ThreadPool(min(placement.threads or num_cores(), num_cores()))
        self.facts: dict[str, Any] = {"executor": "eager", "isa": "torch"}

    def executor(
        self, model: ModelConfig, checkpoint: Checkpoint, shape: StepShape, grammars: GrammarCompiler
    ) -> tuple[Executor, StepShape]:
        """See `Platform.executor`."""
        forward = self.forward(model, checkpoint, shape)
        if model.pooling is not None:
            return PoolingExecutor(forward, model.pooling, forward.shape, self._pool), forward.shape
        return HostExecutor(forward, forward.shape, model.vocab_size, self._pool, grammars), forward.shape

    def forward(self, model: ModelConfig, checkpoint: Checkpoint, shape: StepShape) -> EagerExecutor | TransformersExecutor:
        """The model alone: no sampler."""
        from octavo.runner.eager import EagerExecutor
        from octavo.runner.transformers_executor import TransformersExecutor

        def sized(groups: list[CacheGroupBytes]) -> StepShape:
            left = self._left_bytes() - step_bytes(model, shape, self._pool.num_threads)
            return with_blocks(self._config, shape, groups, left)

        if model.through_transformers:
            self.facts["executor"] = "transformers"
            return TransformersExecutor(model, checkpoint, shape, self._device, sized)
        return EagerExecutor(model, checkpoint, shape, self._device, sized)

    def _left_bytes(self) -> int:
        if self._device.startswith("cuda"):
            import torch

            return torch.cuda.mem_get_info(self._device)[0]
        return available_memory_bytes()
