"""The boundary between the two planes: `StepPlan` goes down, `StepResult` comes up, and nothing else crosses.

A *row* is one running sequence's slot in the runner's persistent batch, 0 <= row < max_num_seqs. The runner keeps the row's
tokens, block tables and sampling state, and counts how many of its tokens are computed; a plan brings only what changed. A scheduled
row computes the next `num_scheduled` tokens: a prefill chunk, a decode step and a verification of drafts differ in nothing but counts.

    position   0 ............ num_computed ............ num_computed + num_scheduled
               |  in KV cache |  computed in this step |  (drawn tokens are appended here)

The token at the last scheduled position may be one that the runner drew in the step before and that the scheduler has not seen yet
(one step ahead): the plan brings counts, never positions or token values, for a row that runs already.

Layers that keep the same tokens form a *cache group*: G of them, each with its own pool of blocks and its own block table for every row.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from octavo.types import DrawParams, MediaSpan, Picture, PromptEmbeds, TimestampRules, TokenLogprobs

__all__ = [
    "BlockCopy",
    "Command",
    "DeviceLostError",
    "Profile",
    "RowFork",
    "RowPooling",
    "RowSampling",
    "RowStart",
    "Runner",
    "StepPlan",
    "StepResult",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSampling(DrawParams):
    """How a row's tokens are drawn: the caller's parameters and, in the runner's terms, what the engine adds. Greedy unless told otherwise.

    Attributes:
        seed: unsigned 64-bit key of the counter-based generator; draws are keyed by (seed, choice, position).
        choice: index of the choice within its request.
        logit_bias: (token id, what is added to its logit).
        blocked_until_min: ids (end-of-sequence and stop tokens) that cannot be drawn before `min_tokens` outputs.
        bad_words: token sequences whose last token is barred when the ones before it match the row's tail.
        num_logprobs: alternatives to report for each drawn token; None: report nothing.
        named_token_ids: further tokens to report where `num_logprobs` is given.
        num_prompt_logprobs: the same as num_logprobs, for prompt tokens.
    """

    temperature: float = 0.0
    seed: int = 0
    choice: int = 0
    logit_bias: tuple[tuple[int, float], ...] = ()
    bad_words: tuple[tuple[int, ...], ...] = ()
    blocked_until_min: tuple[int, ...] = ()
    num_logprobs: int | None = None
    named_token_ids: tuple[int, ...] = ()
    num_prompt_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class RowPooling:
    """What is read of a row's hidden states instead of tokens. Which of them make the vector of a sequence, the model says.

    Attributes:
        token_wise: a vector for each token of the prompt, instead of one for the sequence.
        dimensions: only the first so many columns (matryoshka embeddings); None: all.
        activation: what each vector goes through at last: "none", "normalize" (to length 1), "softmax" or "sigmoid".
        second_segment: tokens from this position on have token type 1, those before it 0; None: all have 0.
    """

    token_wise: bool = False
    dimensions: int | None = None
    activation: str = "none"
    second_segment: int | None = None


@dataclass(frozen=True, slots=True)
class RowStart:
    """A sequence that enters the persistent batch (again, after a preemption).

    Attributes:
        row: a free row.
        token_ids: every token known, prompt first, then outputs (after a preemption).
        num_prompt_tokens: how many of them are the prompt.
        num_computed_tokens: how many of them are in the KV cache already (a prefix hit). The runner counts from here.
        first_blocks: G; the row's block table in a group begins with this block of the sequence: those before it lie behind the group's
            window and are never read. Empty: 0 in each group.
        pooling: of a row that draws nothing and ends with the last token of its prompt; None: it draws.
        pictures: that it shows, and embeddings that stand in it, each once.
        media: where it shows them, in order; none of what a speech model hears.
        timestamps: rules for what the row draws; None: none.
        state_slot: the copy of states that it begins with, of models that keep states; None: it begins from nothing.
    """

    row: int
    token_ids: list[int]
    num_prompt_tokens: int
    sampling: RowSampling
    num_computed_tokens: int = 0
    first_blocks: tuple[int, ...] = ()
    pooling: RowPooling | None = None
    pictures: tuple[Picture | PromptEmbeds, ...] = ()
    media: tuple[MediaSpan, ...] = ()
    timestamps: TimestampRules | None = None
    state_slot: int | None = None


@dataclass(frozen=True, slots=True)
class RowFork:
    """A sequence that goes on from the tokens of a running one. It shares the source's full blocks of them.

    Attributes:
        row: a free row; or the source itself, which then goes back to these tokens and keeps its blocks.
        source_row: a row that runs since an earlier plan, and does not end in this one.
        num_tokens: the source's first tokens that the fork takes over, >= 1, all of them computed by earlier plans.
        token_id: its next token, known but not computed.
    """

    row: int
    source_row: int
    num_tokens: int
    token_id: int
    sampling: RowSampling


class BlockCopy(NamedTuple):
    """The content of block `source` of cache group `group` is copied to block `destination`."""

    group: int
    source: int
    destination: int


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What the runner does in one step. Lists marked R have one entry per scheduled row, in batch order.

    The parts are applied in this order: rows end, start, fork; blocks are copied, one after the other; the step is computed.

    Attributes:
        step_id: counts up by one.
        ended: rows to release.
        started, forked: rows to fill; one that ends in this plan is free.
        copied_blocks: blocks of which a fork needs a copy of its own, because they are not full.
        rows: R scheduled rows, without repetition.
        num_scheduled_tokens: R; >= 1; their sum is T <= token budget.
        new_block_ids: G x R; blocks to append to the row's block table of each group before the step. For a started row its whole table,
            for a forked one what follows the full blocks that it shares.
        num_logits: R; the logits of this many last scheduled positions are computed: 0 for a chunk inside a prompt,
            1 to draw a token, more for prompt log-probabilities and drafts. Their sum is <= max_num_logits.
        draws: R; whether tokens are drawn and appended to the row: one from the last position's logits, and one more for each draft before
            it that is accepted.
        num_drafts: R; at most this many of the scheduled tokens are drafts that the runner proposes: 0 <= num_drafts < num_scheduled.
            It computes fewer tokens where it proposes fewer. A rejected draft does not count as computed.
        saved_states: (scheduled row, slot): the states that the step leaves in the row are copied to the slot.
    """

    step_id: int
    ended: list[int] = field(default_factory=list)
    started: list[RowStart] = field(default_factory=list)
    forked: list[RowFork] = field(default_factory=list)
    copied_blocks: list[BlockCopy] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    num_scheduled_tokens: list[int] = field(default_factory=list)
    new_block_ids: list[list[list[int]]] = field(default_factory=list)
    num_logits: list[int] = field(default_factory=list)
    draws: list[bool] = field(default_factory=list)
    num_drafts: list[int] = field(default_factory=list)
    saved_states: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step made.

    Attributes:
        step_id: that of the plan.
        rows: the rows that drew tokens, in batch order.
        token_ids: one list per entry of `rows`: 1 .. num_drafts + 1 tokens, in order.
        logprobs: one list per entry of `rows`, one entry per token; None where not asked for.
        prompt_logprobs: row -> entries for the prompt positions of this step's logits, in order: the entry made from the
            logits at position p describes the prompt token at p + 1; None where the logits are not finite.
        errors: row -> why it cannot go on (logits that are not finite). Such a row is not in `rows`.
        pooled: row -> float32 bytes of the vectors of a pooling row whose last prompt token this step computed: one, or one for each token.
        run_ms: time from the first kernel to the last, milliseconds.
    """

    step_id: int
    rows: list[int]
    token_ids: list[list[int]]
    logprobs: list[list[TokenLogprobs] | None]
    prompt_logprobs: dict[int, list[TokenLogprobs | None]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    pooled: dict[int, bytes] = field(default_factory=dict)
    run_ms: float = 0.0


class DeviceLostError(RuntimeError):
    """A step failed so that nothing can be computed in this process any more (a fault of a GPU): it must end."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Asks where the time of the steps since the last such command went. Answer: dict, op -> (calls, seconds); empty unless profiling."""


Command = Profile
"""What a runner can be asked besides steps. Plain and picklable, like a plan."""


class Runner(Protocol):
    """The data plane as the engine sees it. Plans and commands run in the order of submission.

    Attributes:
        depth: plans that keep the runner busy: as many may be submitted before the first one's result is waited for. >= 1.
        alive: whether queued steps will be run; false once its thread has ended, for whatever reason.
    """

    depth: int

    @property
    def alive(self) -> bool: ...

    def submit(self, plan: StepPlan) -> Future[StepResult]:
        """Queue a step and return at once. The future fails only when the runner itself is broken."""
        ...

    def call(self, command: Command) -> Future[Any]:
        """Queue a command behind the plans submitted before it. The future has its answer, or fails where the command did."""
        ...

    def close(self) -> None:
        """Finish the queued steps, free the device, stop the thread. Idempotent."""
        ...
