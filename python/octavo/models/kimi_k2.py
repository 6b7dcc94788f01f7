"""Kimi K2 (Moonshot AI 2025): DeepSeek-V3 with more experts and fewer heads."""

from __future__ import annotations

from octavo.models import deepseek_v3

__all__ = ["REFERENCE", "STORED_NAMES", "Model"]

REFERENCE = "transformers' DeepSeek-V3, which its files name"

STORED_NAMES = deepseek_v3.STORED_NAMES


class Model(deepseek_v3.Model):
    """Kimi K2."""
