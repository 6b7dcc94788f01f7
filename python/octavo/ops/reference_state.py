"""Ops that keep a state per sequence, token by token in plain torch, as `Ops` states them. A mixin of `ReferenceOps`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["StateOps"]


class StateOps:
    """A state is its number in `state_sizes`; `TorchStep.states` has a row of it for each row of the batch."""

    def __init__(self) -> None:
        self.state_sizes: list[int] = []

    def state(self, num_elements: int) -> int:
        self.state_sizes.append(num_elements)
        return len(self.state_sizes) - 1

    def causal_conv(self, step: Any, x: Tensor, weight: Tensor, bias: Tensor | None, state: int) -> Tensor:
        def run(tokens: slice, before: Tensor) -> tuple[Tensor, Tensor]:
            known = torch.cat([before.unflatten(0, (-1, x.shape[1])), x[tokens]])
            windows = known.unfold(0, weight.shape[0], 1)  # [tokens, C, K]
            y = (windows * weight.T).sum(-1) + (0 if bias is None else bias)
            return functional.silu(y), known[1 - weight.shape[0] :].flatten()

        return _over_sequences(step, state, run)

    def ssm_scan(
        self,
        step: Any,
        x: Tensor,
        b: Tensor,
        c: Tensor,
        dt: Tensor,
        weights: tuple[Tensor, Tensor, Tensor],
        state: int,
        *,
        num_heads: int,
        num_groups: int,
        dt_min: float,
        dt_max: float | None,
    ) -> Tensor:
        a, dt_bias, d = weights
        steps = functional.softplus(dt + dt_bias).clamp(dt_min, dt_max)  # [T, H]
        heads = x.unflatten(-1, (num_heads, -1))  # [T, H, P]
        b, c = (part.unflatten(-1, (num_groups, -1)).repeat_interleave(num_heads // num_groups, 1) for part in (b, c))  # [T, H, N]

        def run(tokens: slice, before: Tensor) -> tuple[Tensor, Tensor]:
            kept, outputs = _matrices(before, num_heads, b.shape[-1], heads.shape[-1]), []
            for t in range(tokens.start, tokens.stop):
                decay = torch.exp(steps[t] * a)[:, None, None]
                kept = decay * kept + b[t, :, :, None] * (steps[t, :, None] * heads[t])[:, None, :]
                outputs.append((kept * c[t, :, :, None]).sum(1) + d[:, None] * heads[t])
            return torch.stack(outputs).flatten(1), _flat(kept)

        return _over_sequences(step, state, run)

    def delta_rule(
        self,
        step: Any,
        qkv: tuple[Tensor, Tensor, Tensor],
        b: Tensor,
        dt: Tensor,
        weights: tuple[Tensor, Tensor],
        state: int,
        *,
        num_heads: int,
        num_key_heads: int,
    ) -> Tensor:
        a, dt_bias = weights
        repeats = num_heads // num_key_heads
        q, k = (part.unflatten(-1, (num_key_heads, -1)).repeat_interleave(repeats, 1) for part in qkv[:2])  # [T, H, D]
        v = qkv[2].unflatten(-1, (num_heads, -1))  # [T, H, P]
        betas, decays = torch.sigmoid(b), torch.exp(a * functional.softplus(dt + dt_bias))  # [T, H]

        def run(tokens: slice, before: Tensor) -> tuple[Tensor, Tensor]:
            kept, outputs = _matrices(before, num_heads, k.shape[-1], v.shape[-1]), []
            for t in range(tokens.start, tokens.stop):
                kept = decays[t, :, None, None] * kept
                change = betas[t, :, None] * (v[t] - (kept * k[t, :, :, None]).sum(1))
                kept = kept + k[t, :, :, None] * change[:, None, :]
                outputs.append((kept * q[t, :, :, None]).sum(1))
            return torch.stack(outputs).flatten(1), _flat(kept)

        return _over_sequences(step, state, run)

    def cross_attention(self, step: Any, q: Tensor, state: int, *, num_heads: int, num_positions: int, scale: float) -> Tensor:
        outputs = []
        for index, row in enumerate(step.rows):
            queries = q[step.query_indptr[index] : step.query_indptr[index + 1]].unflatten(-1, (num_heads, -1)).transpose(0, 1)
            known = step.states[state][row][: 2 * num_positions * q.shape[1]].view(num_positions, 2, num_heads, -1)
            keys, values = known.permute(1, 2, 0, 3)
            scores = queries @ keys.transpose(1, 2) * scale
            outputs.append((scores.softmax(-1) @ values).transpose(0, 1).flatten(1))
        return torch.cat(outputs)

    def gated_rms_norm(self, x: Tensor, gate: Tensor, weight: Tensor, *, group_size: int, eps: float, norm_first: bool) -> Tensor:
        gate = functional.silu(gate)
        groups = (x if norm_first else x * gate).unflatten(-1, (-1, group_size))
        normed = groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + eps)
        y = (normed * weight.view(-1, group_size)).flatten(-2)
        return y * gate if norm_first else y


def _over_sequences(step: Any, state: int, run: Callable[[slice, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """What `run` makes of each sequence's tokens and state, one after another; what it leaves is the sequence's state from then on."""
    outputs = []
    for index, row in enumerate(step.rows):
        tokens = slice(step.query_indptr[index], step.query_indptr[index + 1])
        known = step.states[state][row]
        begins = step.context_lens[index] == tokens.stop - tokens.start
        y, left = run(tokens, torch.zeros_like(known) if begins else known)
        step.states[state][row] = left
        outputs.append(y)
    return torch.cat(outputs)


def _matrices(state: Tensor, num_heads: int, num_rows: int, num_cols: int) -> Tensor:
    return state.view(num_heads, num_rows, -1)[:, :, :num_cols]


def _flat(matrices: Tensor) -> Tensor:
    return functional.pad(matrices, (0, -matrices.shape[-1] % 16)).flatten()
