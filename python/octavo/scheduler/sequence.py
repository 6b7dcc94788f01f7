"""A request's sequences as the scheduler sees them: how far each one is known, computed and in flight.

    position   0 ......... num_prompt_tokens ......... num_known_tokens ......... num_tokens ......... max_length
               |  prompt                |  outputs seen        |  drawn in flight       |  not drawn yet
               |  computed (or being computed by a submitted step) .. num_computed_tokens  |  to schedule

Invariants: num_computed_tokens <= num_tokens; num_tokens = num_known_tokens + num_in_flight_tokens <= max_length.
While drafts are verified, counts take every draft for accepted; `take` corrects them when the result is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from octavo.scheduler.request import CoreRequest, SequenceOutput
from octavo.step import BlockCopy, RowFork, RowSampling, RowStart
from octavo.types import FinishReason, TokenLogprobs

if TYPE_CHECKING:
    from octavo._runtime import BlockTable
    from octavo.cache import PrefixStart, SnapshotPoint
    from octavo.scheduler.beam_search import BeamSearch

__all__ = ["Chunk", "Sequence", "SequenceGroup"]


class Chunk(NamedTuple):
    """The share of one sequence in a step: tokens computed (>= 1), logits rows at their end, whether it draws, drafts among the tokens."""

    num_tokens: int
    num_logits: int
    draws: bool
    num_drafts: int = 0


class SequenceGroup:
    """One request: a prompt and the sequences that continue it, one per choice.

    Attributes:
        priority: the request's, but for the most urgent one that the scheduler grants.
        arrival: counts the requests of a scheduler; breaks ties between equal priorities.
        prompt_computed: whether a submitted step computes the last prompt token for the first time, or, where layers keep states, the one
            before it. Choice 0 does that; the other choices wait for it.
        search: what the sequences have in common where they are beams; else None.
        num_cached_tokens: prompt tokens that choice 0 took from the prefix cache when it first started; None before.
        arrived_s, queue_s: when it came and how long it waited for its first step, seconds, by the clock of whoever drives the scheduler.
    """

    __slots__ = ("arrival", "arrived_s", "num_cached_tokens", "priority", "prompt_computed", "queue_s", "request", "search", "sequences")

    def __init__(self, request: CoreRequest, priority: int, arrival: int) -> None:
        self.request = request
        self.priority = priority
        self.arrival = arrival
        self.sequences: list[Sequence] = []
        self.search: BeamSearch | None = None
        self.prompt_computed = False
        self.num_cached_tokens: int | None = None
        self.arrived_s = self.queue_s = 0.0

    @property
    def prompt_token_ids(self) -> list[int]:
        """The request's."""
        return self.request.prompt_token_ids

    def prompt_owner(self) -> Sequence | None:
        """A running sequence whose blocks hold the prompt but for its last token, or None."""
        num_prompt_tokens = len(self.prompt_token_ids)
        for sequence in self.sequences:
            if sequence.row is not None and sequence.table.num_committed >= num_prompt_tokens - 1:
                return sequence
        return None


class Sequence:
    """One choice of a request.

    Attributes:
        order: (priority, arrival, index): who is served first.
        table: its blocks; empty unless it runs.
        output_token_ids: outputs whose results have come back.
        num_prompt_tokens, num_known_tokens: tokens of the prompt; of prompt and outputs.
        num_computed_tokens: tokens whose KV is computed by the steps submitted so far.
        num_in_flight_tokens: outputs that submitted steps draw and whose results have not come back.
        num_in_flight_drafts: those of them that may be rejected.
        snapshot_points: ends of prefixes whose states are to be copied when they are computed, ascending.
        state_slot: the copy of states that it begins with; None without one.
        share_deficit: tokens that it has had too few of, by the equal shares of the steps that computed its prompt.
        row: its row while it runs, else None.
        replaces_drawn: whether its next token is another than the runner drew for its row: the row is forked onto itself.
        wants_prompt_logits: whether log-probabilities of prompt tokens remain to be asked for; their positions cannot come from a cache.
        finished: set once, by the scheduler.
    """

    __slots__ = (
        "finished",
        "group",
        "index",
        "max_length",
        "num_computed_tokens",
        "num_in_flight_drafts",
        "num_in_flight_tokens",
        "num_known_tokens",
        "num_prompt_logits",
        "num_prompt_tokens",
        "order",
        "output_token_ids",
        "replaces_drawn",
        "row",
        "sampling",
        "share_deficit",
        "snapshot_points",
        "state_slot",
        "table",
        "wants_prompt_logits",
    )

    def __init__(self, group: SequenceGroup, index: int, sampling: RowSampling, table: BlockTable, max_length: int) -> None:
        self.group = group
        self.index = index
        self.order = (group.priority, group.arrival, index)
        self.sampling = sampling
        self.table = table
        self.max_length = max_length
        self.output_token_ids: list[int] = []
        self.num_prompt_tokens = self.num_known_tokens = len(group.prompt_token_ids)
        self.num_computed_tokens = 0
        self.num_in_flight_tokens = 0
        self.num_in_flight_drafts = 0
        self.share_deficit = 0.0
        self.snapshot_points: tuple[SnapshotPoint, ...] = ()
        self.state_slot: int | None = None
        self.num_prompt_logits = 0  # prompt positions whose log-probabilities submitted steps report; kept over a preemption
        self.wants_prompt_logits = sampling.num_prompt_logprobs is not None and self.num_prompt_tokens > 1
        self.row: int | None = None
        self.replaces_drawn = False
        self.finished = False

    @property
    def num_tokens(self) -> int:
        return self.num_known_tokens + self.num_in_flight_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens to schedule; 0 where the last token that the sequence may have is drawn already."""
        num_tokens = self.num_known_tokens + self.num_in_flight_tokens
        return 0 if num_tokens >= self.max_length else num_tokens - self.num_computed_tokens

    @property
    def next_state_end(self) -> int | None:
        """The next position at which a step must end, because others take over the states there: a copy is made, or other choices begin."""
        group = self.group
        ends = [self.snapshot_points[0].num_tokens] if self.snapshot_points else []
        if self.index == 0 and len(group.sequences) > 1 and group.search is None and not group.prompt_computed:
            ends.append(self.num_prompt_tokens - 1)
        return min((end for end in ends if end > self.num_computed_tokens), default=None)

    @property
    def num_settled_tokens(self) -> int:
        """Tokens that are computed whatever becomes of the drafts in flight."""
        return self.num_computed_tokens - self.num_in_flight_drafts

    @property
    def is_pooled(self) -> bool:
        """Whether it draws nothing: its vectors come with the last token of its prompt."""
        return self.group.request.pooling is not None

    @property
    def can_start_from_prefix(self) -> bool:
        """Whether tokens that the prefix cache holds need not be computed again."""
        return self.group.request.reuses_prefix and not self.wants_prompt_logits

    @property
    def first_logits_position(self) -> int:
        """The first position whose logits are wanted: from there on a chunk needs one logits row per token."""
        if self.is_pooled:
            return self.num_tokens
        return self.num_prompt_logits if self.wants_prompt_logits else self.num_tokens - 1

    def fork_source(self) -> Sequence | None:
        """A running sequence of the group whose blocks hold all its known tokens but the last, or None."""
        return None if self.output_token_ids or self.wants_prompt_logits else self.group.prompt_owner()

    def tokens(self, begin: int, end: int) -> list[int]:
        """Known tokens at positions [begin, end)."""
        num_prompt_tokens = self.num_prompt_tokens
        if begin >= num_prompt_tokens:
            return self.output_token_ids[begin - num_prompt_tokens : end - num_prompt_tokens]
        return self.group.prompt_token_ids[begin:end] + self.output_token_ids[: max(end - num_prompt_tokens, 0)]

    def row_start(self) -> RowStart:
        """How the runner's row is filled. The sequence has a row and nothing in flight."""
        assert self.row is not None and self.num_in_flight_tokens == 0
        first_blocks = tuple(self.table.first_blocks)
        return RowStart(
            self.row,
            self.tokens(0, self.num_known_tokens),
            self.num_prompt_tokens,
            self.sampling,
            self.num_computed_tokens,
            first_blocks if any(first_blocks) else (),
            self.group.request.pooling,
            self.group.request.pictures,
            self.group.request.media,
            self.group.request.timestamps,
            self.state_slot,
        )

    def row_fork(self, source_row: int) -> RowFork:
        """How the runner's row takes over the known tokens but the last from `source_row`. The sequence has a row."""
        assert self.row is not None
        num_tokens = self.num_known_tokens - 1
        (token_id,) = self.tokens(num_tokens, num_tokens + 1)
        return RowFork(self.row, source_row, num_tokens, token_id, self.sampling)

    def begin_at(self, start: PrefixStart) -> None:
        """Begin behind a prefix, whose blocks the table has."""
        self.num_computed_tokens, self.state_slot, self.snapshot_points = start

    def fork_from(self, owner: Sequence) -> list[BlockCopy] | None:
        """Take over the known tokens but the last, whose logits are to draw from, from a running sibling. Returns the blocks to be
        copied for that; None where it cannot be: the sibling has given blocks back, or the copies find no free ones."""
        num_tokens = self.num_known_tokens - 1
        num_shared = self.table.fork(owner.table, num_tokens) if num_tokens else None
        if num_shared is None:
            return None
        copied = self.table.copy_last(owner.table, num_tokens) if num_shared < num_tokens else []
        if copied is None:
            self.table.free()
            return None
        self.num_computed_tokens = num_tokens
        return [BlockCopy(group, *blocks) for group, blocks in enumerate(copied)]

    def advance(self, chunk: Chunk) -> None:
        """Account for a chunk that the next plan computes."""
        self.num_computed_tokens += chunk.num_tokens
        self.num_in_flight_tokens += chunk.draws + chunk.num_drafts
        self.num_in_flight_drafts += chunk.num_drafts
        if self.wants_prompt_logits:
            self.num_prompt_logits = max(self.num_prompt_logits, min(self.num_computed_tokens, self.num_prompt_tokens - 1))
            self.wants_prompt_logits = self.num_prompt_logits < self.num_prompt_tokens - 1

    def take(self, token_ids: list[int], num_drafts: int) -> None:
        """Take the outputs of a step that has come back; it was planned with `num_drafts` drafts, some of which it may have rejected.

        What follows a token that ends the sequence must have been cut off.
        """
        self.num_in_flight_tokens -= 1 + num_drafts
        self.num_in_flight_drafts -= num_drafts
        self.output_token_ids += token_ids
        self.num_known_tokens += len(token_ids)
        if self.row is not None and token_ids:  # else nothing counts as computed any more
            self.num_computed_tokens -= 1 + num_drafts - len(token_ids)

    def end_of(self, token_ids: list[int]) -> tuple[int, FinishReason | None]:
        """How many of the next outputs count, and why the sequence ends with the last of them; None: it goes on.

        This is the one place where a token ends a sequence: by its value, or by being the last that there is room for.
        """
        request, num_outputs = self.group.request, len(self.output_token_ids)
        for count, token_id in enumerate(token_ids, 1):
            if token_id in request.end_token_ids and num_outputs + count > self.sampling.min_tokens:
                return count, FinishReason.STOP
            if self.num_known_tokens + count == self.max_length:
                return count, FinishReason.LENGTH
        return len(token_ids), None

    def output(
        self,
        token_ids: list[int],
        logprobs: list[TokenLogprobs] | None,
        prompt_logprobs: list[TokenLogprobs | None] | None,
        reason: FinishReason | None,
        error: str | None = None,
        pooled: bytes | None = None,
    ) -> SequenceOutput:
        """What a step made for this sequence, in the request's terms."""
        group = self.group
        cached = group.num_cached_tokens or 0
        return SequenceOutput(
            group.request.request_id, self.index, token_ids, logprobs, prompt_logprobs, cached, reason, error, pooled, group.queue_s
        )

    def publish(self) -> None:
        """Commit the tokens that submitted steps compute and whose values are known, so that others can share their blocks.

        Plans run in the order of submission: what a submitted plan computes is there for every later one.
        """
        committed = self.table.num_committed
        computed = min(self.num_computed_tokens, self.num_known_tokens)
        if computed > committed:
            self.table.commit(self.tokens(committed, computed))

    def release(self) -> None:
        """Give up the row and the blocks: every token must be computed again (or found in the prefix cache)."""
        self.publish()
        self.table.free()
        self.row = None
        self.snapshot_points, self.state_slot = (), None
        self.num_computed_tokens = 0
