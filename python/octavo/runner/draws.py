"""What executors share between a plan and its result: who draws, which drafts there are, what is told of a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from octavo.step import StepPlan
from octavo.types import TokenLogprobs

__all__ = ["NO_TOKEN", "drawing", "reports", "token_logprobs", "with_drafts"]

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


def reports(
    drawn: Mapping[int, tuple[int, tuple | None]],
    named: Mapping[int, Sequence[int]],
    rows: Sequence[int],
    logits_rows: Sequence[int],
    logits: NDArray[np.float32] | None,
) -> list[list[TokenLogprobs] | None]:
    """The reports of the rows that drew a token, one list each.

    Args:
        drawn: row -> its token and the kernels' report of it.
        named: row -> tokens of which it reports, whatever it draws. Such a row has a report, and its logits are here.
        rows, logits_rows: who drew, and from which of the logits [L, V].
    """
    entries = {row: None if report is None else token_logprobs(token, report) for row, (token, report) in drawn.items()}
    if named and logits is not None:
        for row, logits_row in zip(rows, logits_rows, strict=True):
            entry = entries.get(row)
            if row in named and entry is not None:
                entries[row] = _with_named(entry, logits[logits_row], named[row])
    return [None if entry is None else [entry] for entry in entries.values()]


def _with_named(entry: TokenLogprobs, logits: NDArray[np.float32], token_ids: Sequence[int]) -> TokenLogprobs:
    """The drawn token's logit less its log-probability is what all of the row's are normalised by."""
    normaliser = float(logits[entry.token_id]) - entry.logprob
    return replace(entry, named=tuple((token_id, min(float(logits[token_id]) - normaliser, 0.0)) for token_id in token_ids))
