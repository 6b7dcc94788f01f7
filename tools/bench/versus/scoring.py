"""Octavo's logits for windows of tokens, from an executor built from an engine's settings, without scheduler or sampler."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo._runtime import Batch
from octavo.assemble import step_shape
from octavo.checkpoint import open_checkpoint
from octavo.cli.options import add_options, from_options
from octavo.config import EngineConfig, from_flat, to_flat
from octavo.models import model_config
from octavo.platforms import open_platform
from octavo.runner.executor import ForwardPass, StepShape

__all__ = ["WindowScorer", "engine_config", "scored"]


def engine_config(model: Path, setting: str, threads: int) -> EngineConfig:
    """Return the configuration of a setting such as `arithmetic=int8,kv_cache_dtype=int8`; empty: the defaults."""
    parser = argparse.ArgumentParser(prog="setting")
    add_options(parser, EngineConfig, "engine")
    pairs = [pair.partition("=") for pair in setting.split(",") if pair]
    flags = [f"--{name.replace('_', '-')}={value}" for name, _, value in pairs]
    return from_options(EngineConfig, parser.parse_args([f"--model={model}", f"--threads={threads}", "--max-num-seqs=1", *flags]))


def scored(length: int) -> slice:
    """Rows of a window whose predictions count: from its middle to the last but one, as llama-perplexity has it."""
    return slice(length // 2, length - 1)


class WindowScorer:
    """Computes the logits of windows of at most `length` tokens, each with nothing before it."""

    def __init__(self, config: EngineConfig, length: int) -> None:
        checkpoint = open_checkpoint(config.model)
        model = model_config(checkpoint)
        config = from_flat(EngineConfig, {**to_flat(config), "max_model_len": length, "max_num_batched_tokens": length})
        platform = open_platform(config)
        shape: StepShape = replace(step_shape(config, model, platform), max_num_logits=length)
        self._executor: ForwardPass = platform.forward(model, checkpoint, shape)
        self._shape = self._executor.shape

    def logits(self, windows: list[list[int]]) -> Iterator[NDArray[np.float32]]:
        """Yield [rows, V] for the rows of `scored`, window by window."""
        shape = self._shape
        for token_ids in windows:
            batch = Batch(shape.max_num_seqs, shape.max_num_tokens, shape.max_num_logits, shape.max_model_len, shape.block_size)
            batch.start_row(0, token_ids, len(token_ids))
            blocks = list(range(-(-len(token_ids) // shape.block_size)))
            batch.prepare([0], [len(token_ids)], [[blocks]], [len(token_ids)])
            yield self._executor.execute(batch)[scored(len(token_ids))].copy()
