"""Routing to experts in plain torch, as `Ops.route` and `Ops.experts` state it."""

from __future__ import annotations

import torch
from torch import Tensor

from octavo.checkpoint.model_config import Routing

__all__ = ["clamped_swiglu", "route"]


def route(router_logits: Tensor, bias: Tensor | None, top_k: int, routing: Routing) -> tuple[Tensor, Tensor]:
    """See `Ops.route`."""
    if routing.scoring == "sparsemixer":
        return _sparsemixer(router_logits, top_k, routing.jitter)
    scores = router_logits.softmax(-1) if routing.scoring == "softmax" else router_logits.sigmoid()
    if bias is None and (routing.num_groups == 1 or routing.group_best == 1):
        ranks = router_logits  # in the same order, without the ties that rounding makes
    else:
        ranks = scores if bias is None else scores + bias
    if routing.num_groups > 1:
        groups = ranks.unflatten(-1, (routing.num_groups, -1))  # [rows, groups, X / groups]
        best = _best(groups.topk(routing.group_best, dim=-1).values.sum(-1), routing.top_groups)
        kept = torch.zeros(groups.shape[:2], dtype=torch.bool, device=ranks.device).scatter(1, best, True)
        ranks = groups.masked_fill(~kept.unsqueeze(-1), float("-inf")).flatten(1)
    ids = _best(ranks, top_k)
    weights = scores.gather(1, ids)
    if routing.renormalise:
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=routing.least_sum)
    return ids, weights * routing.scale


def clamped_swiglu(x: Tensor, alpha: float, limit: float) -> Tensor:
    """See `Ops.experts`."""
    gate, up = x.chunk(2, dim=-1)
    gate = gate.clamp(max=limit)
    return gate * torch.sigmoid(alpha * gate) * (up.clamp(-limit, limit) + 1)


def _best(values: Tensor, count: int) -> Tensor:
    """Places of the greatest `count` of each row, equal ones in their order."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices[:, :count]


def _sparsemixer(logits: Tensor, top_k: int, jitter: float) -> tuple[Tensor, Tensor]:
    left, ids, weights = logits, [], []
    for _ in range(top_k):
        expert = _best(left, 1)
        greatest = left.gather(1, expert)
        far = (greatest - logits) / logits.abs().clamp(min=greatest) > 2 * jitter
        weights.append(left.masked_fill(far, float("-inf")).softmax(-1).gather(1, expert))
        ids.append(expert)
        left = left.scatter(1, expert, float("-inf"))
    return torch.cat(ids, 1), torch.cat(weights, 1)
