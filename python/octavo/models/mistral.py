"""Mistral: Llama with a sliding window (Jiang et al. 2023); the window comes with the configuration."""

from __future__ import annotations

from octavo.models.llama import Model

__all__ = ["Model"]
