"""The processor: compute threads placed where the configuration wants them, the step program, KV cache in what the weights leave."""

from __future__ import annotations

from typing import Any

from octavo._kernels import ThreadPool, active_isa, bind_memory_to_node
from octavo.checkpoint import Checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.config import EngineConfig, PlacementConfig
from octavo.errors import ConfigError
from octavo.log import get_logger
from octavo.platforms._kv_share import step_bytes, with_blocks
from octavo.platforms._processor import available_memory_bytes, place_threads
from octavo.runner.executor import CacheGroupBytes, Executor, StepShape
from octavo.runner.host_executor import HostExecutor
from octavo.runner.media import MediaStore, TowerProgram
from octavo.runner.pooling_executor import PoolingExecutor
from octavo.runner.step_program import StepProgramExecutor
from octavo.structured import GrammarCompiler
from octavo.towers import tower_class

__all__ = ["Platform", "build_pool"]

log = get_logger(__name__)

_MEDIA_BYTES = 256 << 20  # of pictures' rows that are kept for the next request that shows them


class Platform:
    """Implements `platforms.Platform` over one thread pool, which outlives its executors."""

    max_num_seqs = 64
    max_num_batched_tokens = 256
    max_step_ms = 100.0
    backlog_steps: int | None = None
    plan_lead_ms: float | None = None
    reads_media = True

    def __init__(self, config: EngineConfig) -> None:
        if config.cache.kv_cache_dtype == "fp8":
            raise ConfigError("--kv-cache-dtype fp8 is for GPUs; on a processor int8 takes as little memory")
        self._config = config
        self._pool = build_pool(config.placement)
        # Exact arithmetic keeps float32; else half floats cost no accuracy that is seen and half the memory.
        self.kv_cache_dtype = "fp32" if config.placement.arithmetic == "exact" else "fp16"
        self.facts: dict[str, Any] = {"executor": "step_program", "isa": active_isa()}

    def executor(
        self, model: ModelConfig, checkpoint: Checkpoint, shape: StepShape, grammars: GrammarCompiler
    ) -> tuple[Executor, StepShape]:
        """See `Platform.executor`."""
        reads_media = bool(model.reads_media or model.source_positions)
        tower = self._tower(checkpoint) if reads_media else None  # its weights first, then what they leave is divided
        media = MediaStore(tower, _MEDIA_BYTES) if reads_media else None
        forward = self.forward(model, checkpoint, shape, 0 if tower is None else tower.num_bytes + _MEDIA_BYTES)
        if model.pooling is not None:
            return PoolingExecutor(forward, model.pooling, forward.shape, self._pool), forward.shape
        return HostExecutor(forward, forward.shape, model.vocab_size, self._pool, grammars, media), forward.shape

    def _tower(self, checkpoint: Checkpoint) -> TowerProgram | None:
        half = checkpoint.media_half()
        if half is None or tower_class(half.config) is None:
            return None
        return TowerProgram(half, self._pool)

    def forward(self, model: ModelConfig, checkpoint: Checkpoint, shape: StepShape, media_bytes: int = 0) -> StepProgramExecutor:
        """The model alone: no sampler. `media_bytes`: what pictures will take of the memory."""

        def sized(groups: list[CacheGroupBytes]) -> StepShape:
            left = available_memory_bytes(self._config.placement.numa_node) - step_bytes(model, shape, self._pool.num_threads)
            return with_blocks(self._config, shape, groups, left - media_bytes)

        arithmetic = "exact" if self._config.placement.arithmetic == "exact" else "int8"
        return StepProgramExecutor(model, checkpoint, shape, self._pool, arithmetic, sized)


def build_pool(config: PlacementConfig) -> ThreadPool:
    """Start the compute threads where the configuration wants them. What they and this thread allocate from now on is on its NUMA node.

    More threads than cores are cut, not refused: results do not depend on their number, and a container's limit may shrink
    between two starts of one configuration.
    """
    placement = place_threads(config.threads, config.pin_threads, config.numa_node)
    if config.threads and config.threads > placement.num_threads:
        log.warning("--threads is %d, but this process may use %d cores: it runs that many", config.threads, placement.num_threads)
    try:
        if config.numa_node is not None:
            bind_memory_to_node(config.numa_node)
        return ThreadPool(placement.num_threads, placement.affinity)
    except ValueError as error:
        raise ConfigError(f"--numa-node, --pin-threads: {error}") from error
    except RuntimeError as error:
        raise ConfigError(f"--threads: {error}") from error
