"""The composition root: the only file that builds concrete parts from an `EngineConfig`."""

from __future__ import annotations

import time
from importlib.util import find_spec

from octavo._kernels import KVCache, ThreadPool, active_isa, bind_memory_to_node
from octavo.cache import BlockGroup, BlockManager
from octavo.checkpoint import Checkpoint, open_checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.config import EngineConfig
from octavo.engine import AsyncEngine, EngineCore, ModelInfo, StepPace
from octavo.errors import ConfigError
from octavo.fetch import find_model
from octavo.log import get_logger
from octavo.models import model_config
from octavo.platforms.cpu import available_memory_bytes, place_threads
from octavo.runner.executor import ForwardPass, StepShape
from octavo.runner.host_executor import HostExecutor
from octavo.runner.local_runner import LocalRunner
from octavo.scheduler import Scheduler, SchedulerLimits
from octavo.step import Runner
from octavo.text import open_tokenizer

__all__ = ["build_engine", "build_executor", "build_pool", "executor_name", "step_shape"]

log = get_logger(__name__)

_KV_SHARE_OF_MEMORY = 0.4
_LOGITS_ROWS = 64  # enough for prompt log-probabilities to go at a useful pace; more sequences raise it


def build_engine(config: EngineConfig) -> AsyncEngine:
    """Load the model and build the engine around it; start it with `await engine.start()`.

    Raises:
        CheckpointError: the model cannot be read, or is of an unknown kind.
        ConfigError: settings that do not fit the model or this machine.
    """
    found = find_model(config.model, log.info)
    checkpoint = open_checkpoint(found.path, config.load_format)
    model = model_config(checkpoint)
    tokenizer = open_tokenizer(checkpoint)
    pool = build_pool(config)
    shape = step_shape(config, model)
    limits = SchedulerLimits(shape.max_num_seqs, shape.max_num_tokens, shape.max_num_logits, shape.max_model_len)

    def build() -> tuple[Scheduler, Runner]:
        forward = build_executor(config, model, checkpoint, shape, pool)
        blocks = BlockManager([BlockGroup(shape.num_blocks)], shape.block_size, prefix_caching=config.prefix_caching)
        return Scheduler(limits, blocks), LocalRunner(HostExecutor(forward, shape, model.vocab_size, pool))

    core = EngineCore(*build(), pace=StepPace(config.max_step_ms, shape.max_num_tokens))
    info = _model_info(config, model, checkpoint, shape, config.served_model_name or (found.name,))
    return AsyncEngine(
        core,
        tokenizer,
        info,
        max_waiting=config.max_waiting,
        seed=config.seed,
        log_stats_s=config.log_stats_s,
        rebuild=build,
    )


def executor_name(config: EngineConfig) -> str:
    """Which executor `auto` stands for: the step program on a processor, eager torch on any other device."""
    if config.executor != "auto":
        return config.executor
    return "step_program" if config.device in ("auto", "cpu") else "eager"


def build_pool(config: EngineConfig) -> ThreadPool:
    """Start the compute threads where the configuration wants them. What they and this thread allocate from now on is on its NUMA node.

    More threads than cores are cut, not refused: results do not depend on their number, and a container's limit may shrink
    between two starts of one configuration.
    """
    placed = config.pin_threads or config.numa_node is not None
    if placed and executor_name(config) == "eager":
        raise ConfigError("--pin-threads and --numa-node place Octavo's own threads, which --executor eager does not use; leave them out")
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


def step_shape(config: EngineConfig, model: ModelConfig) -> StepShape:
    """The largest step and the number of KV blocks. Raises `ConfigError` where they cannot fit the model or the memory."""
    max_model_len = config.max_model_len or model.max_position_embeddings
    if max_model_len > model.max_position_embeddings:
        raise ConfigError(
            f"--max-model-len is {max_model_len}, but the model was made for {model.max_position_embeddings} positions at most"
        )
    kv_cache_dtype = _kv_cache_dtype(config)
    block_bytes = KVCache.bytes_per_block(model.num_layers, config.block_size, model.num_kv_heads, model.head_dim, kv_cache_dtype)
    blocks_of_a_sequence = -(-max_model_len // config.block_size)
    budget = config.kv_cache_bytes or int(available_memory_bytes(config.numa_node) * _KV_SHARE_OF_MEMORY)
    num_blocks = min(budget // block_bytes, blocks_of_a_sequence * config.max_num_seqs)
    if num_blocks < 1:
        raise ConfigError(f"the KV cache gets {budget} bytes, less than one block of {block_bytes}; raise --kv-cache-bytes")
    return StepShape(
        max_num_seqs=config.max_num_seqs,
        max_num_tokens=config.max_num_batched_tokens,
        max_num_logits=max(config.max_num_seqs, _LOGITS_ROWS),
        max_model_len=max_model_len,
        num_blocks=num_blocks,
        block_size=config.block_size,
        kv_cache_dtype=kv_cache_dtype,
    )


def _kv_cache_dtype(config: EngineConfig) -> str:
    """`auto` keeps float32 where exact arithmetic is asked for; half floats cost no accuracy that is seen and half the memory."""
    if config.kv_cache_dtype != "auto":
        return config.kv_cache_dtype
    return "fp32" if config.arithmetic == "exact" or executor_name(config) == "eager" else "fp16"


def build_executor(config: EngineConfig, model: ModelConfig, checkpoint: Checkpoint, shape: StepShape, pool: ThreadPool) -> ForwardPass:
    if executor_name(config) == "step_program":
        if config.device not in ("auto", "cpu"):
            raise ConfigError(f"--executor step_program runs on the processor, not on --device {config.device}; use --executor eager")
        from octavo.runner.step_program import StepProgramExecutor

        return StepProgramExecutor(model, checkpoint, shape, pool, "exact" if config.arithmetic == "exact" else "int8")
    if find_spec("torch") is None:
        raise ConfigError("--executor eager needs torch, which is not installed; install octavo[torch], or use --executor step_program")
    from octavo.runner.eager import EagerExecutor

    return EagerExecutor(model, checkpoint, shape, "cpu" if config.device == "auto" else config.device)


def _model_info(config: EngineConfig, model: ModelConfig, checkpoint: Checkpoint, shape: StepShape, names: tuple[str, ...]) -> ModelInfo:
    extra = {
        "model_type": model.model_type,
        "executor": executor_name(config),
        "isa": active_isa(),
        "kv_cache_dtype": shape.kv_cache_dtype,
        "kv_cache_tokens": shape.num_blocks * shape.block_size,
    }
    return ModelInfo(names[0], str(checkpoint.path), shape.max_model_len, model.vocab_size, int(time.time()), extra, names[1:])
