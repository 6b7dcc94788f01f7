"""A layer's KV cache of the oracle: keys and values rounded to the cache's element type, as cpp/ops/attention/kv_dtype.h defines it."""

from __future__ import annotations

import torch
from torch import Tensor

from octavo.ops.cache import CacheSpec, LatentKV

__all__ = ["TorchKVCache"]

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}


class TorchKVCache:
    """[2, num_slots, K, D] elements, keys then values; zeros until they are stored. Of a latent cache [1, num_slots, 1, L + R].

    Args:
        spec: of the layer.
        dtype: fp32, bf16, fp16, or int8 with a float32 scale per slot, key/value head, and key or value.
    """

    def __init__(self, num_slots: int, spec: CacheSpec, dtype: str, device: torch.device) -> None:
        if isinstance(spec, LatentKV):
            sizes = (1, num_slots, 1, spec.latent_dim + spec.rope_dim)
        else:
            sizes = (2, num_slots, spec.kv_heads, spec.head_dim)
        self._heads = sizes[-2:]
        self._elements = torch.zeros(sizes, dtype=_TYPES[dtype], device=device)
        self._scales = torch.zeros((*sizes[:-1], 1), device=device) if dtype == "int8" else None

    def store(self, slots: Tensor, *parts: Tensor) -> None:
        """Round k and v, or the one vector, float32 [T, K * D], into int64 slots [T]."""
        x = torch.stack(parts).unflatten(-1, self._heads)
        if self._scales is None:
            self._elements[:, slots] = _rounded(x, self._elements.dtype)
            return
        scales = x.abs().amax(-1, keepdim=True) / 127
        codes = torch.where(scales > 0, x / scales, 0).nan_to_num(0).round().clamp(-127, 127)
        self._elements[:, slots] = codes.to(torch.int8)
        self._scales[:, slots] = scales

    def load(self, slots: Tensor) -> Tensor:
        """Keys and values of int64 slots [N]: float32 [2, N, K, D]; of a latent cache [1, N, 1, L + R]."""
        elements = self._elements[:, slots].float()
        return elements if self._scales is None else elements * self._scales[:, slots]

    def copy_block(self, source: int, destination: int, block_size: int) -> None:
        """Copy the slots of a block of `block_size` tokens."""
        slots, copies = (slice(block * block_size, (block + 1) * block_size) for block in (source, destination))
        for values in (self._elements, self._scales):
            if values is not None:
                values[:, copies] = values[:, slots]


def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """To nearest, ties to even; finite values past the largest become it."""
    limit = torch.finfo(dtype).max
    return torch.where(x.isinf(), x, x.clamp(-limit, limit)).to(dtype)
