"""What a layer may keep of the tokens it has seen: the specs of caches, which `Ops.cache` turns into handles."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CacheSpec", "LatentKV", "PagedKV"]


@dataclass(frozen=True, slots=True)
class PagedKV:
    """Keys and values of every token in pages (Kwon et al. 2023). Layers of equal specs share block tables.

    Attributes:
        kv_heads: key/value heads, K.
        head_dim: elements of a head, D.
        window: tokens that a query sees, its own included; all of them without one.
    """

    kv_heads: int
    head_dim: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class LatentKV:
    """One vector for every token in pages, of which all heads make their keys and values (DeepSeek-V2 2024).

    Attributes:
        latent_dim: elements that keys and values are made of, L.
        rope_dim: elements of the rotated key that heads share, R.
    """

    latent_dim: int
    rope_dim: int
    window: None = None


CacheSpec = PagedKV | LatentKV
