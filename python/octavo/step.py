"""The boundary between the two planes: `StepPlan` goes down, `StepResult` comes up, and nothing else crosses.

A *row* is one running sequence's slot in the runner's persistent batch, 0 <= row < max_num_seqs. The runner keeps the row's
tokens, block table and sampling state; a plan brings only what changed. A scheduled row computes the tokens at positions
`[num_computed, num_computed + num_scheduled)`: a prefill chunk and a decode step differ in nothing but the count.

    position   0 ............ num_computed ............ num_computed + num_scheduled
               |  in KV cache |  computed in this step |  (sampled token is appended here)

The token at the last scheduled position may be one that the runner sampled in the step before and that the scheduler has not
seen yet (one step ahead): the plan names positions, never token values, for a row that runs already.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from octavo.types import TokenLogprobs

__all__ = ["DeviceLostError", "RowSampling", "RowStart", "Runner", "StepPlan", "StepResult"]


@dataclass(frozen=True, slots=True)
class RowSampling:
    """Sampling state of a row, in numbers only. Meanings as in `SamplingParams`.

    Attributes:
        seed: unsigned 64-bit key of the counter-based generator; draws are keyed by (seed, choice, position).
        choice: index of the choice within its request.
        blocked_until_min: ids (end-of-sequence and stop tokens) that cannot be drawn before `min_tokens` outputs.
        bad_words: token sequences whose last token is barred when the ones before it match the row's tail.
        num_logprobs: alternatives to report for each drawn token; None: report nothing.
        num_prompt_logprobs: the same for prompt tokens.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    choice: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words: tuple[tuple[int, ...], ...] = ()
    min_tokens: int = 0
    blocked_until_min: tuple[int, ...] = ()
    num_logprobs: int | None = None
    num_prompt_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class RowStart:
    """A sequence that enters the persistent batch (again, after a preemption).

    Attributes:
        row: a free row.
        token_ids: every token known, prompt first, then outputs (after a preemption).
        num_prompt_tokens: how many of them are the prompt.
    """

    row: int
    token_ids: list[int]
    num_prompt_tokens: int
    sampling: RowSampling


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What the runner does in one step. Lists marked R have one entry per scheduled row, in batch order.

    Attributes:
        step_id: counts up by one.
        ended: rows to release; applied before `started`, so a row may be in both.
        started: rows to fill.
        rows: R scheduled rows, without repetition.
        num_computed_tokens: R; tokens of the row that are in the KV cache already.
        num_scheduled_tokens: R; >= 1; their sum is T <= token budget.
        new_block_ids: R; blocks to append to the row's block table before the step. For a started row: its whole table.
        num_logits: R; the logits of this many last scheduled positions are computed: 0 for a chunk inside a prompt,
            1 to draw a token, more for prompt log-probabilities. Their sum is <= max_num_logits.
        draws: R; whether a token is drawn from the last position's logits and appended to the row.
    """

    step_id: int
    ended: list[int] = field(default_factory=list)
    started: list[RowStart] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    num_computed_tokens: list[int] = field(default_factory=list)
    num_scheduled_tokens: list[int] = field(default_factory=list)
    new_block_ids: list[list[int]] = field(default_factory=list)
    num_logits: list[int] = field(default_factory=list)
    draws: list[bool] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step made.

    Attributes:
        step_id: that of the plan.
        rows: the rows that drew a token, in batch order.
        token_ids: one per entry of `rows`.
        logprobs: one per entry of `rows`; None where not asked for.
        prompt_logprobs: row -> entries for the prompt positions of this step's logits, in order: the entry made from the
            logits at position p describes the prompt token at p + 1; None where the logits are not finite.
        errors: row -> why it cannot go on (logits that are not finite). Such a row is not in `rows`.
        run_ms: time from the first kernel to the last, milliseconds.
    """

    step_id: int
    rows: list[int]
    token_ids: list[int]
    logprobs: list[TokenLogprobs | None]
    prompt_logprobs: dict[int, list[TokenLogprobs | None]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    run_ms: float = 0.0


class DeviceLostError(RuntimeError):
    """A step failed so that nothing can be computed in this process any more (a fault of a GPU): it must end."""


class Runner(Protocol):
    """The data plane as the engine sees it. Plans run in the order of submission.

    Attributes:
        alive: whether queued steps will be run; false once its thread has ended, for whatever reason.
    """

    @property
    def alive(self) -> bool: ...

    def submit(self, plan: StepPlan) -> Future[StepResult]:
        """Queue a step and return at once. The future fails only when the runner itself is broken."""
        ...

    def close(self) -> None:
        """Finish the queued steps, free the device, stop the thread. Idempotent."""
        ...
