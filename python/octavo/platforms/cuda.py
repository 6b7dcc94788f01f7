"""NVIDIA GPUs through Octavo's CUDA library: `--device cuda`, or `cuda:1` for the second one."""

from __future__ import annotations

from typing import Any

from octavo._kernels import CudaDevice, ThreadPool
from octavo.checkpoint import Checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.config import EngineConfig
from octavo.errors import ConfigError
from octavo.platforms._gpu import blas_paths, gpu_status, open_library
from octavo.runner.cuda_executor import CudaExecutor, CudaSettings
from octavo.runner.executor import Executor, StepShape
from octavo.structured import GrammarCompiler

__all__ = ["Platform"]


class Platform:
    """Implements `platforms.Platform`. The device is opened anew for each executor; prompts are scored on the processor."""

    max_num_seqs = 1024
    max_num_batched_tokens = 8192
    max_step_ms = 15.0
    backlog_steps: int | None = 8
    plan_lead_ms: float | None = 2.5
    reads_media = False

    def __init__(self, config: EngineConfig) -> None:
        status = gpu_status()
        if status.reason:
            raise ConfigError(f"--device cuda: {status.reason}; see docs/gpu.md, or use --device cpu")
        self._config = config
        placement = config.placement
        self._index = _index_of(placement.device, len(status.devices))
        self._pool = ThreadPool(1)
        self.kv_cache_dtype = placement.dtype if placement.dtype != "auto" else "bf16"
        asked = config.cache.kv_cache_dtype
        if asked not in ("auto", self.kv_cache_dtype) and (asked != "fp8" or self.kv_cache_dtype == "fp32"):
            raise ConfigError(f"--kv-cache-dtype {asked}: on a GPU the KV cache is of --dtype, or fp8 beside bf16 and fp16")
        name, capability, _, _ = status.devices[self._index]
        self.facts: dict[str, Any] = {"executor": "cuda", "gpu": name, "capability": capability / 10}

    def executor(
        self, model: ModelConfig, checkpoint: Checkpoint, shape: StepShape, grammars: GrammarCompiler
    ) -> tuple[Executor, StepShape]:
        """See `Platform.executor`."""
        if model.pooling is not None:
            raise ConfigError(f"--device cuda: a {model.model_type} model that makes vectors cannot run on a GPU yet; use --device cpu")
        settings = CudaSettings(
            dtype=self.kv_cache_dtype,
            memory_utilization=self._config.placement.gpu_memory_utilization,
            kv_cache_bytes=self._config.cache.kv_cache_bytes,
            attention=self._config.placement.attention,
            kv_cache_dtype="fp8" if shape.kv_cache_dtype == "fp8" else "auto",
        )
        executor = CudaExecutor(self._open(), model, checkpoint, shape, self._pool, settings, grammars)
        return executor, executor.shape

    def _open(self) -> CudaDevice:
        try:
            return open_library().open(self._index, self.kv_cache_dtype, blas_paths(), deterministic=self._config.placement.deterministic)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"--device cuda: {error}") from error


def _index_of(device: str, count: int) -> int:
    number = device.partition(":")[2] or "0"
    if not number.isdecimal() or int(number) >= count:
        raise ConfigError(f"--device {device}: this process may use {count} GPUs, cuda:0 to cuda:{count - 1}")
    return int(number)
