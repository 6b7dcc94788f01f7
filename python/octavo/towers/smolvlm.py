"""SmolVLM's tower (Marafioti et al. 2025) is that of Idefics3."""

from octavo.towers.idefics3 import Tower

__all__ = ["Tower"]
