"""Every op in plain torch: the oracle that kernels are tested against, and the portable path on any torch device.

Written to be read, not to be fast. Tensors are float32; products are true float32 (no TF32).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from octavo.checkpoint.model_config import Routing
from octavo.ops.cache import CacheSpec, LatentKV
from octavo.ops.reference_kv import TorchKVCache
from octavo.ops.reference_moe import clamped_swiglu, route
from octavo.ops.reference_state import StateOps

__all__ = ["ReferenceOps", "TorchStep"]


@dataclass(frozen=True, slots=True)
class TorchStep:
    """The inputs of one step on a device. T tokens, R sequences, L logits rows, M blocks of the longest sequence.

    Attributes:
        token_ids, positions: int64 [T].
        slot_mapping: of each pool of blocks, int64 [T].
        query_indptr: R + 1 offsets; sequence r has tokens query_indptr[r] .. query_indptr[r + 1].
        context_lens: R lengths, the step's tokens included.
        block_tables: of each pool of blocks, int64 [R, M].
        logits_indices: int64 [L].
        kv_caches: of each cache, keys and values of every slot, slot = block * block_size + offset.
        pools: of each cache, the pool that its blocks are of.
        block_size: tokens in a block.
        rows: of each sequence, the row of the states that is its own.
        states: float32 [rows, elements] of each state.
        token_types: int64 [T, 1]; of models that ask for them.
        patches_of_tower, selected_of_tower: float32 [T, values of a patch] and int64 [M, F]; of towers.
        axis_positions: int64 [T, A]; of models whose positions have several axes.
        window_indptr: as query_indptr, of the windows that sequences are cut into; of towers that have some.
        media: indices of placeholder tokens, int64, and a tower's rows for them; None where the step has none.
    """

    token_ids: Tensor
    positions: Tensor
    slot_mapping: list[Tensor]
    query_indptr: list[int]
    context_lens: list[int]
    block_tables: list[Tensor]
    logits_indices: Tensor
    kv_caches: list[TorchKVCache]
    pools: list[int]
    block_size: int
    token_types: Tensor | None = None
    patches_of_tower: Tensor | None = None
    selected_of_tower: Tensor | None = None
    media: tuple[Tensor, Tensor] | None = None
    axis_positions: Tensor | None = None
    window_indptr: Sequence[int] = ()
    rows: Sequence[int] = ()
    states: Sequence[Tensor] = ()


class ReferenceOps(StateOps):
    """`Ops` over torch tensors. A cache is its number in `cache_specs`."""

    def __init__(self) -> None:
        super().__init__()
        self.cache_specs: list[CacheSpec] = []

    def cache(self, spec: CacheSpec) -> int:
        self.cache_specs.append(spec)
        return len(self.cache_specs) - 1

    def embedding(self, step: TorchStep, weight: Tensor, scale: float) -> Tensor:
        return weight[step.token_ids] * scale

    def position_embedding(self, step: TorchStep, weight: Tensor, offset: int) -> Tensor:
        return weight[step.positions + offset]

    def token_types(self, step: TorchStep) -> Tensor:
        assert step.token_types is not None
        return step.token_types

    def lookup(self, ids: Tensor, weight: Tensor) -> Tensor:
        return weight[ids.squeeze(1)]

    def patches(self, step: TorchStep, num_values: int) -> Tensor:
        assert step.patches_of_tower is not None
        return step.patches_of_tower

    def selected(self, step: TorchStep, num_side_by_side: int) -> Tensor:
        assert step.selected_of_tower is not None
        return step.selected_of_tower

    def gather_rows(self, x: Tensor, ids: Tensor) -> Tensor:
        return x[ids].flatten(1)

    def weighted_lookup(self, ids: Tensor, weights: Tensor, table: Tensor) -> Tensor:
        return (table[ids] * weights.unsqueeze(2)).sum(1)

    def insert_media(self, step: TorchStep, x: Tensor, num_levels: int) -> Tensor:
        return x if step.media is None else x.index_copy(0, step.media[0], step.media[1][:, : x.shape[1]])

    def add_media(self, step: TorchStep, x: Tensor, level: int) -> Tensor:
        num_cols = x.shape[1]
        return x if step.media is None else x.index_add(0, step.media[0], step.media[1][:, level * num_cols : (level + 1) * num_cols])

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)

    def lm_head(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        groups = x.unflatten(-1, (-1, weight.numel()))
        return (groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + eps) * weight).flatten(-2)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        total = x + residual
        return self.rms_norm(total, weight, eps), total

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        groups = x.unflatten(-1, (-1, weight.numel()))
        return functional.layer_norm(groups, (weight.numel(),), weight, bias, eps).flatten(-2)

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def sigmoid(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def scale(self, x: Tensor, factor: float) -> Tensor:
        return x * factor

    def gelu(self, x: Tensor) -> Tensor:
        return functional.gelu(x)

    def gelu_tanh(self, x: Tensor) -> Tensor:
        return functional.gelu(x, approximate="tanh")

    def quick_gelu(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)

    def silu(self, x: Tensor) -> Tensor:
        return functional.silu(x)

    def relu(self, x: Tensor) -> Tensor:
        return functional.relu(x)

    def relu_squared(self, x: Tensor) -> Tensor:
        return functional.relu(x).square()

    def tanh(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def silu_and_mul(self, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return functional.silu(gate) * up

    def gelu_and_mul(self, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return functional.gelu(gate) * up

    def gelu_tanh_and_mul(self, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return functional.gelu(gate, approximate="tanh") * up

    def sigmoid_gate(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * torch.sigmoid(gate)

    def route(self, router_logits: Tensor, bias: Tensor | None, *, top_k: int, routing: Routing) -> tuple[Tensor, Tensor]:
        return route(router_logits, bias, top_k, routing)

    def experts(
        self,
        x: Tensor,
        ids: Tensor,
        weights: Tensor,
        experts: list[tuple[Tensor, Tensor]],
        *,
        activation: str,
        biases: tuple[Tensor, Tensor] | None = None,
        weighs_input: bool = False,
        alpha: float | None = None,
        limit: float | None = None,
    ) -> Tensor:
        activations: dict[str, Callable[[Tensor], Tensor]] = {
            "silu": self.silu_and_mul,
            "gelu": self.gelu_and_mul,
            "gelu_pytorch_tanh": self.gelu_tanh_and_mul,
        }
        if alpha is not None and limit is not None:
            activations["clamped_swiglu"] = lambda z: clamped_swiglu(z, alpha, limit)
        y = torch.zeros_like(x)
        for index, (gate_up, down) in enumerate(experts):
            rows, ranks = torch.nonzero(ids == index, as_tuple=True)
            factors = weights[rows, ranks].unsqueeze(1)
            gate_up_bias, down_bias = (bias[index] for bias in biases) if biases else (None, None)
            inputs = x[rows] * factors if weighs_input else x[rows]
            outputs = self.linear(activations[activation](self.linear(inputs, gate_up, gate_up_bias)), down, down_bias)
            y.index_add_(0, rows, outputs if weighs_input else outputs * factors)
        return y

    def columns(self, x: Tensor, start: int, count: int) -> Tensor:
        return x[:, start : start + count]

    def rotary_embedding(self, step: TorchStep, x: Tensor, cos_sin: Tensor, head_dim: int) -> Tensor:
        return self.rotate(x, cos_sin[step.positions], head_dim)

    def axis_positions(self, step: TorchStep, num_axes: int) -> Tensor:
        assert step.axis_positions is not None
        return step.axis_positions

    def axis_rotation(self, positions: Tensor, cos_sin: Tensor, axes: Tensor) -> Tensor:
        rows = positions[:, axes.long().repeat(2)]  # [T, 2 C]
        return cos_sin.gather(0, rows)

    def rotate(self, x: Tensor, rotation: Tensor, head_dim: int) -> Tensor:
        half = rotation.shape[1] // 2
        cos, sin = rotation.unsqueeze(1).split(half, dim=-1)  # [T, 1, half] each
        first, second, rest = x.unflatten(-1, (-1, head_dim)).split([half, half, head_dim - 2 * half], dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1).flatten(-2)

    def store_kv(self, step: TorchStep, k: Tensor, v: Tensor, cache: int) -> None:
        step.kv_caches[cache].store(step.slot_mapping[step.pools[cache]], k, v)

    def paged_attention(
        self,
        step: TorchStep,
        q: Tensor,
        cache: int,
        *,
        num_heads: int,
        scale: float,
        softcap: float | None = None,
        alibi_slopes: Tensor | None = None,
        sinks: Tensor | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        window = self.cache_specs[cache].window
        outputs = []
        for row, context_len in enumerate(step.context_lens):
            tokens = slice(step.query_indptr[row], step.query_indptr[row + 1])
            k, v = self._context(step, cache, row, context_len, num_heads)  # [H, context, D] each
            queries = q[tokens].unflatten(-1, (num_heads, -1)).transpose(0, 1)  # [H, tokens, D]
            scores = queries @ k.transpose(1, 2) * scale
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            if alibi_slopes is not None:
                scores = scores - alibi_slopes[:, None, None] * self._distances(step.positions[tokens], context_len)
            scores = scores.masked_fill(~self._visible(step.positions[tokens], context_len, window, chunk), float("-inf"))
            if sinks is not None:
                scores = torch.cat([scores, sinks[:, None, None].expand(-1, scores.shape[1], 1)], dim=-1)
            outputs.append((scores.softmax(-1)[..., :context_len] @ v).transpose(0, 1).flatten(-2))
        return torch.cat(outputs)

    def head_linear(self, x: Tensor, weight: Tensor, *, num_heads: int) -> Tensor:
        matrices = weight.unflatten(0, (num_heads, -1))  # [H, K, N]
        return torch.einsum("rhk,hkn->rhn", x.unflatten(-1, (num_heads, -1)), matrices).flatten(-2)

    def store_latent(self, step: TorchStep, latent: Tensor, rope_key: Tensor, cache: int) -> None:
        step.kv_caches[cache].store(step.slot_mapping[step.pools[cache]], torch.cat([latent, rope_key], dim=-1))

    def mla_attention(self, step: TorchStep, q: Tensor, q_rope: Tensor, cache: int, *, num_heads: int, scale: float) -> Tensor:
        spec, outputs = self.cache_specs[cache], []
        assert isinstance(spec, LatentKV)
        queries = torch.cat([part.unflatten(-1, (num_heads, -1)) for part in (q, q_rope)], dim=-1).transpose(0, 1)  # [H, T, L + R]
        for row, context_len in enumerate(step.context_lens):
            tokens = slice(step.query_indptr[row], step.query_indptr[row + 1])
            (keys,) = step.kv_caches[cache].load(self._slots(step, cache, row, context_len)).squeeze(2)  # [context, L + R]
            scores = queries[:, tokens] @ keys.T * scale
            scores = scores.masked_fill(~self._visible(step.positions[tokens], context_len, None, None), float("-inf"))
            outputs.append((scores.softmax(-1) @ keys[:, : spec.latent_dim]).transpose(0, 1).flatten(-2))
        return torch.cat(outputs)

    def _slots(self, step: TorchStep, cache: int, row: int, context_len: int) -> Tensor:
        block_tables = step.block_tables[step.pools[cache]]
        places = torch.arange(context_len, device=block_tables.device)
        return block_tables[row, places // step.block_size] * step.block_size + places % step.block_size

    def _context(self, step: TorchStep, cache: int, row: int, context_len: int, num_heads: int) -> tuple[Tensor, Tensor]:
        k, v = step.kv_caches[cache].load(self._slots(step, cache, row, context_len))  # [context, K, D] each
        group = num_heads // k.shape[1]
        return k.repeat_interleave(group, dim=1).transpose(0, 1), v.repeat_interleave(group, dim=1).transpose(0, 1)

    def _visible(self, positions: Tensor, context_len: int, window: int | None, chunk: int | None) -> Tensor:
        distance = self._distances(positions, context_len)
        in_chunk = positions % chunk if chunk else positions
        return (distance >= 0) & (distance < (window or context_len)) & (distance <= in_chunk.unsqueeze(1))

    def _distances(self, positions: Tensor, context_len: int) -> Tensor:
        return positions.unsqueeze(1) - torch.arange(context_len, device=positions.device)  # [tokens, context]

    def attention(
        self,
        step: TorchStep,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        num_heads: int,
        num_kv_heads: int,
        scale: float,
        max_distance: int | None,
        windowed: bool = False,
    ) -> Tensor:
        group = num_heads // num_kv_heads
        outputs = []
        for begin, end in pairwise(step.window_indptr if windowed else step.query_indptr):
            heads = [
                x[begin:end].unflatten(-1, (heads, -1)).transpose(0, 1)
                for x, heads in ((q, num_heads), (k, num_kv_heads), (v, num_kv_heads))
            ]
            queries, keys, values = heads[0], *(x.repeat_interleave(group, dim=0) for x in heads[1:])
            scores = queries @ keys.transpose(1, 2) * scale
            places = torch.arange(end - begin, device=q.device)
            if max_distance is not None:
                scores = scores.masked_fill((places.unsqueeze(1) - places).abs() > max_distance, float("-inf"))
            outputs.append((scores.softmax(-1) @ values).transpose(0, 1).flatten(-2))
        return torch.cat(outputs)

    def pool(self, step: TorchStep, x: Tensor, kind: str) -> Tensor:
        sequences = [x[begin:end] for begin, end in pairwise(step.query_indptr)]
        return torch.stack([{"last": rows[-1], "cls": rows[0], "mean": rows.mean(0)}[kind] for rows in sequences])

    def select_logits_rows(self, step: TorchStep, x: Tensor) -> Tensor:
        return x[step.logits_indices]

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        return cap * torch.tanh(x / cap)
