"""What executors share between a plan and its result: who draws, which drafts there are, what is told of a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from octavo.step import StepPlan
from octavo.types import TokenLogprobs

__all__ = ["NO_TOKEN", "drawing", "token_logprobs", "with_drafts"]

NO_TOKEN = "the model's logits are not finite, or every token is barred by the request's constraints"


def drawing(plan: StepPlan, errors: dict[int, str]) -> tuple[list[int], Sequence[int]]:
    """The rows that draw, and the row of the step's logits from which each does."""
    if False not in plan.draws and not errors and max(plan.num_logits) == 1:  # a decode step: nothing to pick out
        return plan.rows, range(len(plan.rows))
    ends = accumulate(plan.num_logits)
    entries = zip(plan.rows, ends, plan.draws, strict=True)
    found = [(row, end - 1) for row, end, draws in entries if draws and row not in errors]
    return [row for row, _ in found], [logits_row for _, logits_row in found]


def with_drafts(plan: StepPlan, forced: dict[int, list[int]]) -> StepPlan:
    """The same plan with the drafts that there are: tokens that a grammar forces, of which only the last one's logits are needed."""
    entries = zip(plan.rows, plan.num_scheduled_tokens, plan.num_drafts, strict=True)
    num_tokens = [num_tokens - num_drafts + len(forced.get(row, ())) for row, num_tokens, num_drafts in entries]
    num_logits = [num_logits - num_drafts for num_logits, num_drafts in zip(plan.num_logits, plan.num_drafts, strict=True)]
    return replace(plan, num_scheduled_tokens=num_tokens, num_logits=num_logits, num_drafts=[0] * len(plan.rows))


def token_logprobs(token_id: int, report: tuple) -> TokenLogprobs:
    """A report of the kernels as the contract has it."""
    logprob, rank, top_ids, top_logprobs = report
    return TokenLogprobs(token_id, logprob, rank, tuple(zip(top_ids, top_logprobs, strict=True)))
