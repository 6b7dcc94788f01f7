"""Attention for models of transformers: what one of them calls as its attention function, over keys and values in pages.

transformers looks the function up by name (`AttentionInterface`), and makes masks by another of that name (`AttentionMaskInterface`). The
step that a call belongs to cannot be passed through the models' own signatures, so it stands in a context variable around the forward pass.
The mask is not a tensor but the model's own rule of which key a query sees (`VisibleKeys`): windows, chunks and whatever a family adds hold
for the positions of each sequence, however the step's tokens are packed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from octavo.errors import CheckpointError

__all__ = ["ATTENTION", "PAGED_STEP", "AttentionStep", "PagedStep", "Pages", "PlainStep", "VisibleKeys", "register"]

ATTENTION = "octavo"


class AttentionStep(Protocol):
    """What the attention of one forward pass works on."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: AttentionRule) -> Tensor:
        """Attend from `query` [T, H, D] to what the step's sequences hold, `key` [T, K, D] and `value` [T, K, Dv] included: [T, H, Dv].
        Called for each layer in turn."""
        ...


PAGED_STEP: ContextVar[AttentionStep] = ContextVar("octavo_attention_step")
"""Of the forward pass under way on this thread."""


@dataclass(frozen=True, slots=True)
class VisibleKeys:
    """The rule of a model's mask: (sequence, head, query position, key position) -> whether the query sees the key, by broadcasting."""

    sees: Callable[[int, int, Tensor, Tensor], Tensor]

    def mask(self, positions: Tensor, num_keys: int) -> Tensor:
        """Bool [..., Q, num_keys] for queries at `positions` [..., Q]."""
        keys = torch.arange(num_keys, device=positions.device)
        return self.sees(0, 0, positions.unsqueeze(-1), keys).expand(*positions.shape, num_keys)


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """How a layer weighs keys.

    Attributes:
        scaling: factor of the scores.
        softcap: bound of the scores; None without.
        sinks: [H] a score of each head beside those of its keys; None without.
    """

    visible: VisibleKeys
    scaling: float
    softcap: float | None = None
    sinks: Tensor | None = None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
        """Of `query` [B, H, Q, D], `key` [B, K, C, D], `value` [B, K, C, Dv] and bool `visible` [B, 1, Q, C]: [B, H, Q, Dv]."""
        if self.softcap is None and self.sinks is None:
            return scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=self.scaling, enable_gqa=True)
        group = query.shape[1] // key.shape[1]
        scores = query @ key.repeat_interleave(group, dim=1).transpose(-1, -2) * self.scaling
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        scores = scores.masked_fill(~visible, float("-inf"))
        if self.sinks is not None:
            scores = torch.cat([scores, self.sinks.to(scores.dtype)[None, :, None, None].expand(*scores.shape[:3], 1)], dim=-1)
        weights = scores.float().softmax(-1)[..., : key.shape[2]].to(value.dtype)
        return weights @ value.repeat_interleave(group, dim=1)


class PlainStep:
    """One whole sequence, nothing kept. `layers` has what each layer would keep, once the pass is over."""

    def __init__(self, num_tokens: int) -> None:
        self._positions = torch.arange(num_tokens)
        self.layers: list[tuple[int, int, int]] = []  # key/value heads, elements of a key, of a value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: AttentionRule) -> Tensor:
        """See `AttentionStep.attend`."""
        self.layers.append((key.shape[1], key.shape[2], value.shape[2]))
        visible = rule.visible.mask(self._positions.to(query.device), len(key))
        q, k, v = (part.transpose(0, 1).unsqueeze(0) for part in (query, key, value))
        return rule.attend(q, k, v, visible[None, None])[0].transpose(0, 1)


class Pages:
    """Keys [num_slots, K, D] and values [num_slots, K, Dv] of one layer, of any torch device; a block is `block_size` slots."""

    def __init__(self, num_slots: int, sizes: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        heads, key_dim, value_dim = sizes
        self.keys = torch.zeros(num_slots, heads, key_dim, dtype=dtype, device=device)
        self.values = torch.zeros(num_slots, heads, value_dim, dtype=dtype, device=device)

    def store(self, slots: Tensor, key: Tensor, value: Tensor) -> None:
        """Write `key` [T, K, D] and `value` [T, K, Dv] into int64 slots [T]."""
        self.keys[slots], self.values[slots] = key.to(self.keys.dtype), value.to(self.values.dtype)

    def load(self, slots: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [B, K, C, D] of int64 slots [B, C]."""
        return self.keys[slots].to(dtype).transpose(1, 2), self.values[slots].to(dtype).transpose(1, 2)

    def copy_block(self, source: int, destination: int, block_size: int) -> None:
        """Copy a block."""
        begin, to = source * block_size, destination * block_size
        for pages in (self.keys, self.values):
            pages[to : to + block_size] = pages[begin : begin + block_size]


@dataclass(slots=True)
class _Rows:
    """Sequences of a step that are computed together, because each has as many tokens in it.

    Attributes:
        tokens: [B, Q] of the step.
        positions: [B, Q] of these tokens.
        slots: [B, C] of each sequence's tokens; those past its end are any slot.
        masks: what the tokens see, by rule.
    """

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    masks: dict[VisibleKeys, Tensor] = field(default_factory=dict)


class PagedStep:
    """A step of the persistent batch: chunks of prompts and single tokens, of which each sees its own sequence.

    Args:
        pages: of each layer.
        positions, slot_mapping: int64 [T].
        query_indptr: [R + 1] where each sequence's tokens begin.
        context_lens: [R] tokens of each sequence, those of the step included.
        block_tables: int64 [R, most blocks].
    """

    def __init__(
        self,
        pages: Sequence[Pages],
        positions: Tensor,
        slot_mapping: Tensor,
        query_indptr: Sequence[int],
        context_lens: Sequence[int],
        block_tables: Tensor,
        block_size: int,
    ) -> None:
        self._pages, self._slot_mapping, self._layer = pages, slot_mapping, 0
        single = [row for row in range(len(context_lens)) if query_indptr[row + 1] - query_indptr[row] == 1]
        groups = [[row] for row in range(len(context_lens)) if query_indptr[row + 1] - query_indptr[row] > 1]
        self._groups = []
        for rows in [single, *groups] if single else groups:
            tokens = torch.stack([torch.arange(query_indptr[row], query_indptr[row + 1]) for row in rows]).to(positions.device)
            places = torch.arange(max(context_lens[row] for row in rows), device=positions.device)
            slots = block_tables[rows][:, places // block_size] * block_size + places % block_size
            self._groups.append(_Rows(tokens, positions[tokens], slots))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: AttentionRule) -> Tensor:
        """See `AttentionStep.attend`."""
        pages = self._pages[self._layer]
        self._layer += 1
        pages.store(self._slot_mapping, key, value)
        attended = query.new_empty(*query.shape[:2], value.shape[2])
        for rows in self._groups:
            keys, values = pages.load(rows.slots, query.dtype)
            visible = rows.masks.get(rule.visible)
            if visible is None:
                visible = rows.masks[rule.visible] = self._mask(rows, rule.visible)
            part = rule.attend(query[rows.tokens].transpose(1, 2), keys, values, visible)
            attended[rows.tokens] = part.transpose(1, 2)
        return attended

    @staticmethod
    def _mask(rows: _Rows, visible: VisibleKeys) -> Tensor:
        """Bool [B, 1, Q, C]: what the model lets a token see, of its sequence's tokens so far."""
        num_keys = rows.slots.shape[1]
        known = torch.arange(num_keys, device=rows.slots.device) <= rows.positions[:, -1:]
        return (visible.mask(rows.positions, num_keys) & known[:, None]).unsqueeze(1)


def register() -> None:
    """Make the two functions known to transformers under `ATTENTION`. May be called again."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, _mask)


def _mask(*args: Any, mask_function: Callable[..., Tensor], **sizes: Any) -> VisibleKeys:
    """What models get as their mask, and hand to the attention of each layer."""
    return VisibleKeys(mask_function)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Implements transformers' attention function: `query` [1, H, T, D], `key` [1, K, T, D], `value` [1, K, T, Dv] -> [1, T, H, Dv]."""
    if not isinstance(attention_mask, VisibleKeys):
        raise CheckpointError(f"{type(module).__name__} makes its masks itself, so other attention than its own cannot follow them")
    if others.get("position_bias") is not None:
        raise CheckpointError(
            f"{type(module).__name__} adds biases of positions to its scores, which is not supported through transformers"
        )
    rule = AttentionRule(attention_mask, query.shape[-1] ** -0.5 if scaling is None else scaling, softcap, s_aux)
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    return PAGED_STEP.get().attend(q, k, v, rule).unsqueeze(0), None
