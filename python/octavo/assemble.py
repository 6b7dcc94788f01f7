"""The composition root: the only file that builds concrete parts from an `EngineConfig`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from octavo.cache import BlockGroup, BlockManager
from octavo.checkpoint import Checkpoint, open_checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.checkpoint.pooling_config import PoolingConfig
from octavo.checkpoint.speech_config import SpeechConfig, read_speech
from octavo.config import EngineConfig
from octavo.engine import AsyncEngine, Core, EngineCore, LatePlans, LocalCore, ModelInfo, StepPace
from octavo.engine.synthetic_core import SYNTHETIC, WORDS, SyntheticCore, SyntheticModel
from octavo.errors import ConfigError
from octavo.fetch import find_model
from octavo.log import get_logger
from octavo.models import model_config
from octavo.multimodal import ImageProcessor, open_image_processor
from octavo.platforms import Platform, open_platform
from octavo.runner.executor import StepShape
from octavo.runner.local_runner import LocalRunner
from octavo.scheduler import Scheduler, SchedulerLimits
from octavo.step import Runner
from octavo.structured import GrammarCompiler
from octavo.text import ChatTemplate, open_tokenizer
from octavo.text.byte_tokenizer import ByteTokenizer
from octavo.towers import media_levels, tower_class

__all__ = ["build_engine", "build_front", "step_shape"]

log = get_logger(__name__)

ResultT = TypeVar("ResultT")

_MAX_FORCED_TOKENS = 8  # of a sequence in a step, beside the one that is drawn: keys and punctuation of JSON are shorter
_ENCODER_TOKENS = 512  # of a step of whole texts: nobody waits for a next token, and weights are read once for all of them
_SNAPSHOTS = 2  # copies of states for each sequence that may run: one of its prompt, one that it shares
_SOURCE_SEQS = 8  # each keeps keys and values of 30 seconds for each layer: 0.5 GB of the largest Whisper
_LOGITS_ROWS = 64  # enough for prompt log-probabilities to go at a useful pace; more sequences raise it


def build_engine(config: EngineConfig) -> AsyncEngine:
    """Load the model and build the engine around it; start it with `await engine.start()`.

    Raises:
        CheckpointError: the model cannot be read, or is of an unknown kind.
        ConfigError: settings that do not fit the model or this machine.
    """
    if config.model.startswith(SYNTHETIC):
        return _synthetic_engine(config)
    found = find_model(config.model, log.info)
    checkpoint = open_checkpoint(found.path, config.load_format)
    model = model_config(checkpoint, config.task, config.pooling, config.model_impl)
    tokenizer = open_tokenizer(checkpoint)
    if model.through_transformers:
        log.warning("%s: the layers of this %s model are transformers', on torch", checkpoint.path, model.model_type)
    platform = open_platform(config, on_torch=model.through_transformers)
    if model.source_positions and not platform.reads_media:
        raise ConfigError(f"--device {config.placement.device} runs no {model.model_type} models yet; --device cpu does")
    images = _image_processor(checkpoint, platform) if model.pooling is None and not model.through_transformers else None
    embeds_width = _embeds_width(config, model, platform)
    levels = 1 if images is None else media_levels(checkpoint)
    model = replace(model, reads_media=images is not None or embeds_width is not None, media_levels=levels)
    grammars = GrammarCompiler(tokenizer, model.vocab_size)
    wanted = step_shape(config, model, platform)
    executor, shape = _fitting(lambda: platform.executor(model, checkpoint, wanted, grammars))

    pace, late_plans = (None, None) if model.pooling is not None else _timing(config, platform, shape)  # nobody waits for a next token
    engine_core = EngineCore(_scheduler(config, shape), LocalRunner(executor), pace=pace, late_plans=late_plans)
    del executor  # the runner alone holds it: dropping a broken one frees its memory

    def rebuild() -> tuple[Scheduler, Runner]:
        again, new_shape = platform.executor(model, checkpoint, shape, grammars)
        return _scheduler(config, new_shape), LocalRunner(again)

    core = LocalCore(
        engine_core,
        max_waiting=config.scheduling.max_waiting,
        max_waiting_tokens=config.scheduling.max_waiting_tokens,
        rebuild=rebuild,
        grammars=grammars,
    )
    info = _model_info(model, checkpoint, shape, platform, config.served_model_name or (found.name,))
    info = replace(info, embeds_width=embeds_width)
    return AsyncEngine(core, tokenizer, info, images=images, seed=config.seed, log_stats_s=config.log_stats_s)


def build_front(config: EngineConfig, core: Core, info: ModelInfo, name: str, *, reads_images: bool) -> AsyncEngine:
    """The front of an engine whose core is in another process: only the tokenizer is loaded, and what prepares pictures.

    Args:
        info: of the model, as the core's process knows it.
        name: of this front; no two of a core have the same.
    """
    if config.model.startswith(SYNTHETIC):
        return AsyncEngine(core, _synthetic_tokenizer(), info, name=name, seed=config.seed, log_stats_s=config.log_stats_s)
    checkpoint = open_checkpoint(Path(info.path), config.load_format)
    half = checkpoint.media_half() if reads_images else None
    images = None if half is None else open_image_processor(half.path, half.config)
    tokenizer = open_tokenizer(checkpoint)
    return AsyncEngine(core, tokenizer, info, images=images, name=name, seed=config.seed, log_stats_s=config.log_stats_s)


def _image_processor(checkpoint: Checkpoint, platform: Platform) -> ImageProcessor | None:
    """What prepares pictures, where the model reads them, its family has a tower here and the device runs it."""
    half = checkpoint.media_half()
    if half is None or tower_class(half.config) is None:
        return None
    if not platform.reads_media:
        log.warning("%s: this device reads no images yet; the model's text half is served", checkpoint.path)
        return None
    return open_image_processor(half.path, half.config)


def _embeds_width(config: EngineConfig, model: ModelConfig, platform: Platform) -> int | None:
    """Values of a row that a request may give in place of an embedding; None where it may not. Raises `ConfigError` where it cannot."""
    if not config.enable_prompt_embeds:
        return None
    if model.pooling is not None or model.source_positions:
        made = "vectors" if model.pooling is not None else "text of speech"
        raise ConfigError(f"--enable-prompt-embeds is for models that make text of text, and this one makes {made}")
    if not platform.reads_media:
        raise ConfigError("--enable-prompt-embeds: this device takes no rows in place of embeddings yet; leave it out, or --device cpu")
    return model.hidden_size


def _synthetic_engine(config: EngineConfig) -> AsyncEngine:
    """No model, no runner: what stands before them, alone."""
    model = SyntheticModel.parse(config.model)
    scheduling = config.scheduling
    core = SyntheticCore(model, max_running=scheduling.max_num_seqs or 4096, max_waiting=scheduling.max_waiting)
    tokenizer = _synthetic_tokenizer()
    names = config.served_model_name or ("synthetic",)
    max_model_len = min(config.max_model_len or model.max_model_len, model.max_model_len)
    info = ModelInfo(names[0], config.model, max_model_len, tokenizer.vocab_size, int(time.time()), {}, names[1:])
    return AsyncEngine(core, tokenizer, info, seed=config.seed, log_stats_s=config.log_stats_s)


def _synthetic_tokenizer() -> ByteTokenizer:
    return ByteTokenizer(0, WORDS, ChatTemplate({"default": "{% for message in messages %}{{ message.content }}\n{% endfor %}"}, {}))


def step_shape(config: EngineConfig, model: ModelConfig, platform: Platform) -> StepShape:
    """The largest step, and the most KV blocks that its sequences can use; what the configuration leaves open, the platform says.

    Raises `ConfigError` where they do not fit the model.
    """
    max_model_len = config.max_model_len or model.max_position_embeddings
    if max_model_len > model.max_position_embeddings:
        raise ConfigError(
            f"--max-model-len is {max_model_len}, but the model was made for {model.max_position_embeddings} positions at most"
        )
    max_num_tokens = config.scheduling.max_num_batched_tokens or platform.max_num_batched_tokens
    if model.pooling is not None:
        max_model_len, max_num_tokens = _pooled_sizes(config, model.pooling, max_model_len, max_num_tokens)
    cache = config.cache
    most_seqs = min(platform.max_num_seqs, _SOURCE_SEQS) if model.source_positions else platform.max_num_seqs
    max_num_seqs = config.scheduling.max_num_seqs or most_seqs
    return StepShape(
        max_num_seqs=max_num_seqs,
        max_num_tokens=max_num_tokens,
        max_num_logits=max(max_num_seqs, _LOGITS_ROWS),
        max_model_len=max_model_len,
        num_blocks=-(-max_model_len // cache.block_size) * max_num_seqs,
        block_size=cache.block_size,
        num_snapshots=_SNAPSHOTS * max_num_seqs if cache.prefix_caching and not model.source_positions else 0,
        kv_cache_dtype=platform.kv_cache_dtype if cache.kv_cache_dtype == "auto" else cache.kv_cache_dtype,
    )


def _pooled_sizes(config: EngineConfig, pooling: PoolingConfig, max_model_len: int, max_num_tokens: int) -> tuple[int, int]:
    """The context window and the largest step of a model that makes vectors: an encoder's step takes the longest text whole."""
    if config.max_model_len is None and pooling.max_tokens is not None:
        max_model_len = min(max_model_len, pooling.max_tokens)
    if not pooling.whole:
        return max_model_len, max_num_tokens
    if config.scheduling.max_num_batched_tokens is None:
        return max_model_len, max(max_num_tokens, max_model_len, _ENCODER_TOKENS)
    if max_num_tokens < max_model_len:
        raise ConfigError(
            f"--max-num-batched-tokens is {max_num_tokens}, but an encoder computes a text in one step, of up to {max_model_len} tokens; "
            "raise it, or lower --max-model-len"
        )
    return max_model_len, max_num_tokens


def _timing(config: EngineConfig, platform: Platform, shape: StepShape) -> tuple[StepPace, LatePlans | None]:
    asked = config.scheduling.max_step_ms
    pace = StepPace(platform.max_step_ms if asked is None else asked, shape.max_num_tokens, platform.backlog_steps)
    return pace, None if platform.plan_lead_ms is None else LatePlans(platform.plan_lead_ms)


def _scheduler(config: EngineConfig, shape: StepShape) -> Scheduler:
    limits = SchedulerLimits(
        shape.max_num_seqs,
        shape.max_num_tokens,
        shape.max_num_logits,
        shape.max_model_len,
        max_priority=config.scheduling.max_priority,
        max_num_forced=_MAX_FORCED_TOKENS,
    )
    groups = [BlockGroup(pool.num_blocks, pool.window) for pool in shape.block_pools]
    if shape.keeps_states and config.cache.prefix_caching and not shape.num_snapshots:
        log.info("layers keep a state for each sequence and there is no room for copies: equal prefixes are computed again")
    caching = config.cache.prefix_caching and (not shape.keeps_states or shape.num_snapshots > 0)
    return Scheduler(
        limits,
        BlockManager(
            groups,
            shape.block_size,
            prefix_caching=caching,
            keeps_states=shape.keeps_states,
            num_snapshots=shape.num_snapshots if caching else 0,
        ),
    )


def _fitting(build: Callable[[], ResultT]) -> ResultT:
    """What `build` returns; a lack of memory is an error that names the flags."""
    try:
        return build()
    except MemoryError as error:
        raise ConfigError(
            f"model, KV cache and the largest step do not fit into memory ({error}); lower --max-num-seqs, --max-num-batched-tokens or "
            "--max-model-len, or take a smaller model"
        ) from error


def _model_info(model: ModelConfig, checkpoint: Checkpoint, shape: StepShape, platform: Platform, names: tuple[str, ...]) -> ModelInfo:
    extra = {
        "model_type": model.model_type,
        **platform.facts,
        "kv_cache_dtype": shape.kv_cache_dtype,
        "kv_cache_tokens": shape.num_blocks * shape.block_size,
    }
    return ModelInfo(
        names[0],
        str(checkpoint.path),
        shape.max_model_len,
        model.vocab_size,
        int(time.time()),
        extra,
        names[1:],
        model.pooling,
        speech=_speech(model, checkpoint),
    )


def _speech(model: ModelConfig, checkpoint: Checkpoint) -> SpeechConfig | None:
    return read_speech(str(checkpoint.path), checkpoint.config, checkpoint.generation_config) if model.source_positions else None
