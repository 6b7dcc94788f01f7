"""How much of the memory that a loaded model leaves becomes KV cache."""

from __future__ import annotations

from dataclasses import replace

from octavo.checkpoint.model_config import ModelConfig
from octavo.config import EngineConfig
from octavo.errors import ConfigError
from octavo.runner.executor import StepShape

__all__ = ["step_bytes", "with_blocks"]

_SHARE = 0.4  # the rest is the machine's: page cache, other programs, what this estimate forgets
_RESERVE_BYTES = 256 << 20  # the server itself, a tokenizer, requests that wait
_ACTIVATIONS = 6  # hidden-sized buffers alive at once
_SAMPLER_BYTES = 24  # of a logit in a thread's workspace: weights, candidates, ranking


def step_bytes(model: ModelConfig, shape: StepShape, num_threads: int, bytes_per_value: int = 4) -> int:
    """Bytes of the largest step besides weights and cache, roughly: activations, logits, the sampler's workspaces."""
    attention = (model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    activations = shape.max_num_tokens * (_ACTIVATIONS * model.hidden_size + 3 * model.intermediate_size + attention)
    logits = shape.max_num_logits * model.vocab_size
    return bytes_per_value * (activations + logits) + num_threads * model.vocab_size * _SAMPLER_BYTES


def with_blocks(config: EngineConfig, shape: StepShape, block_bytes: int, left_bytes: int) -> StepShape:
    """The shape with the blocks that the KV cache gets: `kv_cache_bytes`, or a share of what is left; never more than can be used.

    Args:
        left_bytes: memory that is left once the weights and the largest step have theirs.

    Raises:
        ConfigError: not even one block.
    """
    budget = config.kv_cache_bytes or int(max(left_bytes - _RESERVE_BYTES, 0) * _SHARE)
    num_blocks = min(budget // block_bytes, shape.num_blocks)
    if num_blocks < 1:
        raise ConfigError(
            f"the KV cache gets {budget} bytes of the {max(left_bytes, 0)} that the loaded model leaves, but a block has {block_bytes}; "
            "raise --kv-cache-bytes, lower --max-num-batched-tokens or --max-num-seqs, or take a smaller model"
        )
    return replace(shape, num_blocks=num_blocks)
