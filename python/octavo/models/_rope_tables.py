"""Rotary tables of a model's layers."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig, RopeConfig
from octavo.layers.rotary import rope_table
from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["rope_tables"]


def rope_tables(weights: Weights, config: ModelConfig, num_positions: int) -> list[Tensor | None]:
    """One table per layer; layers with equal settings share it."""
    tables: list[tuple[RopeConfig | None, Tensor | None]] = [(None, None)]
    for rope in config.ropes:
        if rope is not None and not any(rope == known for known, _ in tables):
            tables.append((rope, weights.constant(rope_table(rope, num_positions))))
    return [next(table for known, table in tables if known == rope) for rope in config.ropes]
