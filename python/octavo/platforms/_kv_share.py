"""How much of the memory that a loaded model leaves becomes KV cache, and how its cache groups divide that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from octavo.checkpoint.model_config import ModelConfig
from octavo.config import EngineConfig
from octavo.errors import ConfigError
from octavo.runner.executor import BlockPoolShape, CacheGroupBytes, StepShape

__all__ = ["step_bytes", "with_blocks"]

_SHARE = 0.4  # the rest is the machine's: page cache, other programs, what this estimate forgets
_SNAPSHOT_SHARE = 0.25  # of the KV cache, for copies of states beside blocks
_RESERVE_BYTES = 256 << 20  # the server itself, a tokenizer, requests that wait
_ACTIVATIONS = 6  # hidden-sized buffers alive at once
_SAMPLER_BYTES = 24  # of a logit in a thread's workspace: weights, candidates, ranking


def step_bytes(model: ModelConfig, shape: StepShape, num_threads: int, bytes_per_value: int = 4) -> int:
    """Bytes of the largest step besides weights and cache, roughly: activations, logits, the sampler's workspaces."""
    attention = (model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    activations = shape.max_num_tokens * (_ACTIVATIONS * model.hidden_size + 3 * model.intermediate_size + attention)
    logits = shape.max_num_logits * model.vocab_size
    return bytes_per_value * (activations + logits) + num_threads * model.vocab_size * _SAMPLER_BYTES


def with_blocks(config: EngineConfig, shape: StepShape, groups: Sequence[CacheGroupBytes], left_bytes: int) -> StepShape:
    """The shape with the blocks that the KV cache gets: `kv_cache_bytes`, or a share of what is left; never more than can be used.

    Layers whose windows no sequence outgrows need no blocks of their own; where all groups see the same tokens, they share one pool.

    States, of which every sequence that may run has one, come first; copies of them have a share of what they leave, blocks the rest.

    Args:
        groups: of the model; none where it caches nothing.
        left_bytes: memory that is left once the weights and the largest step have theirs.

    Raises:
        ConfigError: not even one block for each group, or states that do not fit.
    """
    state_bytes = shape.max_num_seqs * sum(group.block_bytes for group in groups if group.per_sequence)
    groups = [group for group in groups if not group.per_sequence]
    left_bytes = max(left_bytes - _RESERVE_BYTES, 0)
    if state_bytes > (config.cache.kv_cache_bytes or left_bytes):
        raise ConfigError(
            f"the states of {shape.max_num_seqs} sequences need {state_bytes} bytes of {config.cache.kv_cache_bytes or left_bytes} "
            "bytes; lower --max-num-seqs, or raise --kv-cache-bytes where it is given"
        )
    budget = config.cache.kv_cache_bytes - state_bytes if config.cache.kv_cache_bytes else int((left_bytes - state_bytes) * _SHARE)
    num_snapshots = _num_snapshots(shape, state_bytes, int(budget * (_SNAPSHOT_SHARE if groups else 1)))
    budget -= num_snapshots * state_bytes // shape.max_num_seqs
    shape = replace(shape, keeps_states=state_bytes > 0, num_snapshots=num_snapshots)
    if not groups:
        return replace(shape, num_blocks=0, pools=())
    windows = [None if group.window is None or group.window >= shape.max_model_len else group.window for group in groups]
    block_bytes = [group.block_bytes for group in groups]
    if len(set(windows)) == 1:
        windows, block_bytes = windows[:1], [sum(block_bytes)]
    num_blocks = _divide(budget, block_bytes, [_most_blocks(shape, window) for window in windows])
    if min(num_blocks) < 1:
        raise ConfigError(
            f"the KV cache gets {budget} bytes of the {max(left_bytes, 0)} that the loaded model leaves, but a block has "
            f"{sum(block_bytes)}; raise --kv-cache-bytes, lower --max-num-batched-tokens or --max-num-seqs, or take a smaller model"
        )
    pools = tuple(BlockPoolShape(*pool) for pool in zip(num_blocks, windows, strict=True))
    return replace(shape, num_blocks=max(num_blocks), pools=pools)


def _num_snapshots(shape: StepShape, state_bytes: int, budget: int) -> int:
    """Copies of states: as many as the shape wants, as far as `budget` bytes go."""
    of_a_sequence = state_bytes // shape.max_num_seqs
    return min(shape.num_snapshots, max(budget, 0) // of_a_sequence) if of_a_sequence else 0


def _most_blocks(shape: StepShape, window: int | None) -> int:
    """Most blocks that sequences can use in a pool.

    With a window each of them holds what its next token sees, at any place within blocks; the tokens of a step come on top, while one
    more sequence may start and finds room for a step of its own and a spare block for each of the others.
    """
    if window is None:
        return shape.num_blocks
    in_sight = -(-(window - 1) // shape.block_size) + 3
    step = -(-shape.max_num_tokens // shape.block_size)
    return min(shape.num_blocks, shape.max_num_seqs * in_sight + 2 * step)


def _divide(budget: int, block_bytes: list[int], most_blocks: list[int]) -> list[int]:
    """Blocks of each pool: as many of one as of the other, until a pool has the most that it can use; the others have the rest.

    So no sequence that would fit pools of equal sizes is turned away.
    """
    num_blocks = [0] * len(block_bytes)
    bytes_of_all = sum(block_bytes)
    for pool in sorted(range(len(block_bytes)), key=lambda pool: most_blocks[pool]):
        num_blocks[pool] = min(budget // bytes_of_all, most_blocks[pool])
        budget -= num_blocks[pool] * block_bytes[pool]
        bytes_of_all -= block_bytes[pool]
    return num_blocks
