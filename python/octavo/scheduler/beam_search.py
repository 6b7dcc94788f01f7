"""Beam search over a request's sequences: which continuations live on, which are finished, when it ends.

The rules are those of `transformers`' `generate(num_beams=...)`, so that its users get the same texts: of the best candidates of a step
(the more of them, the more tokens end a text), the best that do not end, as many as beams, are the next beams; one that ends counts only
where it is among as many best ones of all. A finished text's score is its summed log-probability, divided by its number of outputs to the
power of `length_penalty` (Wu et al. 2016, "Google's Neural Machine Translation System", has a further constant in it).
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from octavo.scheduler.request import BeamParams, SequenceOutput
from octavo.scheduler.sequence import Sequence, SequenceGroup
from octavo.step import RowSampling
from octavo.types import FinishReason, TokenLogprobs

if TYPE_CHECKING:
    from octavo._runtime import BlockTable

__all__ = ["BeamSearch", "BeamSequence", "FinishedBeam", "Placement"]

_score = attrgetter("score")


class BeamSequence(Sequence):
    """A beam. The runner draws a token for it, as for anybody, and reports the best ones; then it has nothing to compute until the other
    beams have reported, too, and one of their continuations or its own is put in its place.

    Attributes:
        reported: whether its best tokens are known and the search has not gone on yet.
        parent: the beam whose tokens but the last one it took over; its blocks may be shared. None: it has its own.
        drawn_token_id: what the runner believes to be its next token.
        score: summed log-probability of the outputs.
        logprobs: an entry for each output, where they are asked for.
        best: the most probable next tokens and their log-probabilities, once they are reported.
    """

    __slots__ = ("best", "drawn_token_id", "logprobs", "parent", "reported", "score")

    def __init__(self, group: SequenceGroup, index: int, sampling: RowSampling, table: BlockTable, max_length: int) -> None:
        super().__init__(group, index, sampling, table, max_length)
        self.reported = False
        self.parent: BeamSequence | None = None
        self.drawn_token_id: int | None = None
        self.score = 0.0
        self.logprobs: list[TokenLogprobs] = []
        self.best: tuple[tuple[int, float], ...] = ()

    @property
    def num_uncomputed_tokens(self) -> int:
        return 0 if self.reported or self.num_in_flight_tokens else self.num_known_tokens - self.num_computed_tokens

    def fork_source(self) -> Sequence | None:
        parent = self.parent
        if parent is None or parent.row is None or parent.table.num_committed < self.num_known_tokens - 1:
            return None
        return parent

    def take_report(self, token_ids: list[int], reports: list[TokenLogprobs] | None) -> None:
        """Take what a step drew for the beam and what it says of the best tokens; nothing, where the row failed."""
        self.num_in_flight_tokens -= 1
        if token_ids and reports:
            self.drawn_token_id, self.best = token_ids[-1], reports[-1].top
            self.reported = True

    def go_on(self, placement: Placement) -> None:
        """Become a continuation of `placement.parent`. The beam holds no row, or is the parent itself."""
        self.parent = None if placement.parent is self else placement.parent
        self.output_token_ids, self.logprobs, self.score = placement.output_token_ids, placement.logprobs, placement.score
        self.num_known_tokens = self.num_prompt_tokens + len(self.output_token_ids)
        self.reported = False
        self.replaces_drawn = self.row is not None and self.output_token_ids[-1] != self.drawn_token_id

    def release(self) -> None:
        super().release()
        self.replaces_drawn = False


class FinishedBeam(NamedTuple):
    """A text that has ended."""

    score: float
    token_ids: list[int]
    logprobs: list[TokenLogprobs]


class Placement(NamedTuple):
    """A beam of the next step: which sequence it becomes, and of which one it continues the tokens."""

    beam: BeamSequence
    parent: BeamSequence
    output_token_ids: list[int]
    logprobs: list[TokenLogprobs]
    score: float


class _Candidate(NamedTuple):
    score: float
    parent: BeamSequence
    token_id: int
    rank: int  # among the parent's, from 0


class BeamSearch:
    """The state of one search.

    Attributes:
        beams: only the first lives until the prompt is computed.
        finished: at most as many as beams, best first.
        over: whether `advance` has ended the search.
    """

    def __init__(self, params: BeamParams, beams: list[Sequence]) -> None:
        self.params = params
        self.beams = [beam for beam in beams if isinstance(beam, BeamSequence)]
        self.finished: list[FinishedBeam] = []
        self.over = False
        self._width = len(self.beams)
        self._living = self.beams[:1]
        request = beams[0].group.request
        self._end_token_ids, self._max_tokens, self._min_tokens = request.end_token_ids, request.max_tokens, request.samplings[0].min_tokens

    @property
    def complete(self) -> bool:
        """Whether every living beam has reported: `advance` is due."""
        return all(beam.reported for beam in self._living)

    def advance(self) -> list[Placement]:
        """Choose the beams of the next step from the candidates of all living ones. Empty where the search is over.

        A beam goes on in its parent's place where it can, so that nothing is copied; the others take the places of those that end.
        """
        width, none = self._width, frozenset[int]()
        num_outputs = len(self._living[0].output_token_ids) + 1
        ends, barred = (self._end_token_ids, none) if num_outputs > self._min_tokens else (none, self._end_token_ids)
        num_kept = max(2, 1 + len(self._end_token_ids)) * width
        candidates = nlargest(num_kept, self._candidates(barred), key=_score)
        last = num_outputs == self._max_tokens
        self._finish((each for each in candidates[:width] if last or each.token_id in ends), num_outputs)
        going_on = [] if last else [each for each in candidates if each.token_id not in ends][:width]
        self.over = not going_on or not self._can_improve(going_on[0].score, num_outputs)
        if self.over:
            return []
        placements = self._place(going_on)
        self._living = [placement.beam for placement in placements]
        return placements

    def outputs(self) -> list[SequenceOutput]:
        """The texts that are wanted, best first, once the search is over."""
        outputs = []
        for choice, best in zip(self.beams, self.finished[: self.params.num_wanted], strict=False):
            reason = FinishReason.STOP if best.token_ids[-1] in self._end_token_ids else FinishReason.LENGTH
            outputs.append(choice.output(best.token_ids, best.logprobs or None, None, reason))
        return outputs

    def _candidates(self, barred: frozenset[int]) -> Iterable[_Candidate]:
        for beam in self._living:
            for rank, (token_id, logprob) in enumerate(beam.best):
                if token_id not in barred and logprob > -inf:
                    yield _Candidate(beam.score + logprob, beam, token_id, rank)

    def _finish(self, candidates: Iterable[_Candidate], num_outputs: int) -> None:
        penalty = num_outputs**self.params.length_penalty
        for each in candidates:
            tokens = [*each.parent.output_token_ids, each.token_id]
            self.finished.append(FinishedBeam(each.score / penalty, tokens, self._logprobs(each)))
        self.finished = nlargest(self._width, self.finished, key=_score)

    def _can_improve(self, best_score: float, num_outputs: int) -> bool:
        """Whether a text that has not ended may still be better than a finished one."""
        params = self.params
        if len(self.finished) < self._width:
            return True
        if params.early_stopping is True:
            return False
        longest = params.early_stopping == "never" and params.length_penalty > 0
        return best_score / (self._max_tokens if longest else num_outputs) ** params.length_penalty > self.finished[-1].score

    def _place(self, going_on: list[_Candidate]) -> list[Placement]:
        staying: dict[int, _Candidate] = {}
        for each in going_on:
            if each.parent.index not in staying or each.token_id == each.parent.drawn_token_id:
                staying[each.parent.index] = each
        free = (beam for beam in self.beams if beam.index not in staying)
        moved = [Placement(next(free), *self._grown(each)) for each in going_on if each is not staying[each.parent.index]]
        return [*(Placement(each.parent, *self._grown(each)) for each in staying.values()), *moved]

    def _grown(self, each: _Candidate) -> tuple[BeamSequence, list[int], list[TokenLogprobs], float]:
        return each.parent, [*each.parent.output_token_ids, each.token_id], self._logprobs(each), each.score

    def _logprobs(self, each: _Candidate) -> list[TokenLogprobs]:
        """Entries for the candidate's outputs, where the request wants them."""
        num_reported, best = self.params.num_reported, each.parent.best
        if num_reported is None:
            return []
        return [*each.parent.logprobs, TokenLogprobs(each.token_id, best[each.rank][1], each.rank + 1, best[:num_reported])]
