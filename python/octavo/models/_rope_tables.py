"""Rotary tables of a model's layers."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig, RopeConfig
from octavo.layers.axis_rotation import AxisRotation
from octavo.layers.rotary import rope_table
from octavo.layers.weights import Weights
from octavo.ops.ops import Tensor

__all__ = ["rope_tables"]


def rope_tables(weights: Weights, config: ModelConfig, num_positions: int) -> list[Tensor | AxisRotation | None]:
    """One table per layer, or what rotates by several axes; layers with equal settings share it."""
    tables: list[tuple[RopeConfig | None, Tensor | AxisRotation | None]] = [(None, None)]
    for rope in config.ropes:
        if rope is not None and not any(rope == known for known, _ in tables):
            table = rope_table(rope, num_positions)
            tables.append((rope, AxisRotation(weights, table, rope.axes) if rope.axes else weights.constant(table)))
    return [next(table for known, table in tables if known == rope) for rope in config.ropes]
