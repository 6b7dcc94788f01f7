"""Every op in plain torch: the oracle that kernels are tested against, and the portable path on any torch device.

Written to be read, not to be fast. Tensors are float32; products are true float32 (no TF32).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from octavo.ops.reference_kv import TorchKVCache

__all__ = ["ReferenceOps", "TorchStep"]


@dataclass(frozen=True, slots=True)
class TorchStep:
    """The inputs of one step on a device. T tokens, R sequences, L logits rows, M blocks of the longest sequence.

    Attributes:
        token_ids, positions, slot_mapping: int64 [T].
        query_indptr: R + 1 offsets; sequence r has tokens query_indptr[r] .. query_indptr[r + 1].
        context_lens: R lengths, the step's tokens included.
        block_tables: int64 [R, M].
        logits_indices: int64 [L].
        kv_cache: keys and values of every slot, slot = block * block_size + offset.
        block_size: tokens in a block.
    """

    token_ids: Tensor
    positions: Tensor
    slot_mapping: Tensor
    query_indptr: list[int]
    context_lens: list[int]
    block_tables: Tensor
    logits_indices: Tensor
    kv_cache: TorchKVCache
    block_size: int


class ReferenceOps:
    """`Ops` over torch tensors."""

    def embedding(self, step: TorchStep, weight: Tensor, scale: float) -> Tensor:
        return weight[step.token_ids] * scale

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)

    def lm_head(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        groups = x.unflatten(-1, (-1, weight.numel()))
        return (groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + eps) * weight).flatten(-2)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        total = x + residual
        return self.rms_norm(total, weight, eps), total

    def silu_and_mul(self, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return functional.silu(gate) * up

    def gelu_tanh_and_mul(self, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return functional.gelu(gate, approximate="tanh") * up

    def sigmoid_gate(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * torch.sigmoid(gate)

    def moe(
        self,
        x: Tensor,
        router_logits: Tensor,
        experts: tuple[tuple[Tensor, Tensor], ...],
        *,
        top_k: int,
        renormalise: bool,
        activation: str,
    ) -> Tensor:
        ranked = torch.sort(router_logits, dim=-1, descending=True, stable=True).indices[:, :top_k]  # [rows, top_k]
        weights = router_logits.softmax(-1).gather(1, ranked)
        if renormalise:
            weights = weights / weights.sum(-1, keepdim=True)
        activate_and_mul = {"silu": self.silu_and_mul, "gelu_pytorch_tanh": self.gelu_tanh_and_mul}[activation]
        y = torch.zeros_like(x)
        for index, (gate_up, down) in enumerate(experts):
            rows, ranks = torch.nonzero(ranked == index, as_tuple=True)
            outputs = self.linear(activate_and_mul(self.linear(x[rows], gate_up, None)), down, None)
            y.index_add_(0, rows, outputs * weights[rows, ranks].unsqueeze(1))
        return y

    def columns(self, x: Tensor, start: int, count: int) -> Tensor:
        return x[:, start : start + count]

    def rotary_embedding(self, step: TorchStep, x: Tensor, cos_sin: Tensor, head_dim: int) -> Tensor:
        half = cos_sin.shape[1] // 2
        cos, sin = cos_sin[step.positions].unsqueeze(1).split(half, dim=-1)  # [T, 1, half] each
        first, second, rest = x.unflatten(-1, (-1, head_dim)).split([half, half, head_dim - 2 * half], dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1).flatten(-2)

    def store_kv(self, step: TorchStep, k: Tensor, v: Tensor, layer: int) -> None:
        step.kv_cache.store(layer, step.slot_mapping, k, v)

    def paged_attention(
        self, step: TorchStep, q: Tensor, layer: int, *, num_heads: int, scale: float, window: int | None, softcap: float | None
    ) -> Tensor:
        outputs = []
        for row, context_len in enumerate(step.context_lens):
            tokens = slice(step.query_indptr[row], step.query_indptr[row + 1])
            k, v = self._context(step, layer, row, context_len, num_heads)  # [H, context, D] each
            queries = q[tokens].unflatten(-1, (num_heads, -1)).transpose(0, 1)  # [H, tokens, D]
            scores = queries @ k.transpose(1, 2) * scale
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            scores = scores.masked_fill(~self._visible(step.positions[tokens], context_len, window), float("-inf"))
            outputs.append((scores.softmax(-1) @ v).transpose(0, 1).flatten(-2))
        return torch.cat(outputs)

    def _context(self, step: TorchStep, layer: int, row: int, context_len: int, num_heads: int) -> tuple[Tensor, Tensor]:
        places = torch.arange(context_len, device=step.block_tables.device)
        slots = step.block_tables[row, places // step.block_size] * step.block_size + places % step.block_size
        k, v = step.kv_cache.load(layer, slots)  # [context, K, D] each
        group = num_heads // k.shape[1]
        return k.repeat_interleave(group, dim=1).transpose(0, 1), v.repeat_interleave(group, dim=1).transpose(0, 1)

    def _visible(self, positions: Tensor, context_len: int, window: int | None) -> Tensor:
        distance = positions.unsqueeze(1) - torch.arange(context_len, device=positions.device)  # [tokens, context]
        return (distance >= 0) & (distance < (window or context_len))

    def select_logits_rows(self, step: TorchStep, x: Tensor) -> Tensor:
        return x[step.logits_indices]

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        return cap * torch.tanh(x / cap)
