"""What a kind of device offers, and which one a configuration means."""

from __future__ import annotations

from typing import Any, Protocol

from octavo.checkpoint import Checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.config import EngineConfig
from octavo.errors import ConfigError
from octavo.plugins import available, load
from octavo.runner.executor import Executor, StepShape
from octavo.structured import GrammarCompiler

__all__ = ["Platform", "open_platform", "platform_name"]

_REGISTRY = "octavo.platforms"
_TORCH = "torch"


class Platform(Protocol):
    """A kind of device: its memory, its threads, its executors. `platforms/<device>.py` has a class `Platform`, made from an
    `EngineConfig`, which starts its threads.

    Attributes:
        max_num_seqs, max_num_batched_tokens, max_step_ms: those that suit the device, where the configuration names none.
        backlog_steps: see `StepPace`.
        plan_lead_ms: how long before a step's end the next one is planned, see `LatePlans`; None: as soon as it can be.
        reads_media: whether its executors run vision towers and take rows in place of embeddings.
        kv_cache_dtype: element type of the KV cache where the configuration says `auto`.
        facts: what to tell about it (executor, kernels); plain JSON values.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    max_step_ms: float
    backlog_steps: int | None
    plan_lead_ms: float | None
    reads_media: bool
    kv_cache_dtype: str
    facts: dict[str, Any]

    def executor(
        self, model: ModelConfig, checkpoint: Checkpoint, shape: StepShape, grammars: GrammarCompiler
    ) -> tuple[Executor, StepShape]:
        """Place the weights, give the KV cache its share of the memory that is left, and return the executor and the shape that it has.

        Called again after a fault, when the executor before is gone.

        Args:
            shape: `num_blocks` is the most that sequences without a window can use; the shape returned has the `pools`.
            grammars: compiles those that rows follow.

        Raises:
            CheckpointError: tensors are missing or misshapen.
            ConfigError: the model or the step does not fit; names the flag.
        """
        ...


def open_platform(config: EngineConfig, *, on_torch: bool = False) -> Platform:
    """Return the platform that `config` means, with its threads started. `ConfigError` where there is none.

    Args:
        on_torch: the model can be computed by torch only.
    """
    if not on_torch:
        return load(_REGISTRY, platform_name(config)).Platform(config)
    if config.placement.executor == "step_program":
        raise ConfigError("--executor step_program runs models that have a file in octavo/models, not those of transformers; leave it out")
    return load(_REGISTRY, _TORCH).Platform(config)


def platform_name(config: EngineConfig) -> str:
    """The device's own platform, by the name before a colon (`cuda:1`); torch for a device that has none, and for the oracle.

    Raises:
        ConfigError: `executor` asks for compiled kernels on a device that has none.
    """
    placement = config.placement
    kind = _best_device() if placement.device == "auto" else placement.device.partition(":")[0]
    if placement.executor == "eager":
        return _TORCH
    if kind in available(_REGISTRY):
        return kind
    if placement.executor == "auto":
        return _TORCH
    raise ConfigError(
        f"--executor {placement.executor} has no kernels for --device {placement.device}; use --executor eager, or one of the devices "
        f"{', '.join(name for name in available(_REGISTRY) if name != _TORCH)}"
    )


def _best_device() -> str:
    """A GPU that can be used, else the processor."""
    from octavo.platforms._gpu import gpu_status

    return "cpu" if gpu_status().reason else "cuda"
