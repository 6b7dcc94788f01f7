"""Qwen2.5-VL's decoder (Bai et al. 2025): that of Qwen2-VL."""

from octavo.models.qwen2_vl_text import Model

__all__ = ["Model"]
