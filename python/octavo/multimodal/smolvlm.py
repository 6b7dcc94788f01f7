"""SmolVLM (Marafioti et al. 2025): prepares pictures as Idefics3 does."""

from octavo.multimodal.idefics3 import Processor

__all__ = ["Processor"]
