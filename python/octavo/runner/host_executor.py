"""Executor over a forward pass whose logits reach the host: the persistent batch, the sampler and the reports are here, in C++."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import Sampler, ThreadPool
from octavo._runtime import Batch
from octavo.log import get_logger
from octavo.runner.draws import NO_TOKEN, drawing, reports, token_logprobs, with_drafts
from octavo.runner.executor import ForwardPass, StepShape
from octavo.runner.media import MediaStore
from octavo.runner.media_rows import MediaRows
from octavo.runner.timestamps import TimestampMasks
from octavo.step import Command, Profile, RowFork, RowSampling, RowStart, StepPlan, StepResult
from octavo.structured import GrammarCompiler
from octavo.structured.matchers import Matchers
from octavo.types import MediaSpan, TokenLogprobs

__all__ = ["HostExecutor"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _PromptLogprobs:
    """A row that wants log-probabilities of its prompt, and the prompt."""

    prompt_token_ids: list[int]
    num_top: int


class HostExecutor:
    """Implements `Executor`: `launch` computes, `collect` hands over."""

    depth = 1

    def __init__(
        self,
        forward: ForwardPass,
        shape: StepShape,
        vocab_size: int,
        pool: ThreadPool,
        grammars: GrammarCompiler | None = None,
        media: MediaStore | None = None,
    ) -> None:
        """
        Args:
            grammars: for rows whose text follows one; None: such a row is an error of its request.
            media: for rows that show pictures; None: the model reads none.
        """
        self._forward = forward
        self._batch = Batch(
            shape.max_num_seqs,
            shape.max_num_tokens,
            shape.max_num_logits,
            shape.max_model_len,
            shape.block_size,
            num_groups=len(shape.block_pools),
        )
        self._sampler = Sampler(shape.max_num_seqs, vocab_size, pool)
        self._pool = pool
        self._vocab_size = vocab_size
        self._first_slot = shape.max_num_seqs  # of the rows of states
        self._media = media
        self._timestamps = TimestampMasks(vocab_size)
        self._matchers = None if grammars is None else Matchers(grammars, pool.num_threads)
        self._forced: dict[int, list[int]] = {}  # tokens that a row's grammar has added in the step under way
        self._named: dict[int, tuple[int, ...]] = {}  # tokens that a row reports whatever it draws
        self._prompt_logprobs: dict[int, _PromptLogprobs] = {}
        self._failed: dict[int, str] = {}  # rows that cannot draw, until their sequence ends, and why
        self._results: deque[StepResult] = deque()

    def bind_thread(self) -> None:
        """See `Executor.bind_thread`."""
        self._pool.place_caller()

    def launch(self, plan: StepPlan) -> None:
        """See `Executor.launch`."""
        self._apply(plan)
        if not plan.rows:
            self._results.append(StepResult(plan.step_id, [], [], []))
            return
        started = time.perf_counter()
        if any(plan.num_drafts):
            self._add_forced(plan)
            plan = with_drafts(plan, self._forced)
        media, axis_positions = self._media_of(plan) if self._media is not None else ([], None)
        self._batch.prepare(plan.rows, plan.num_scheduled_tokens, plan.new_block_ids, plan.num_logits)
        logits = self._forward.execute(self._batch, media, axis_positions)
        for row, slot in plan.saved_states:
            self._forward.copy_states(self._first_slot + slot, row)
        self._results.append(self._draw(plan, logits, started))

    def collect(self) -> StepResult:
        """See `Executor.collect`."""
        return self._results.popleft()

    def finished(self) -> bool:
        """See `Executor.finished`: `launch` has computed the step."""
        return True

    def idle(self) -> bool:
        """See `Executor.idle`: there is nothing to prepare."""
        return False

    def call(self, command: Command) -> Any:
        """See `Executor.call`."""
        assert isinstance(command, Profile)
        return self._forward.profile()

    def close(self) -> None:
        """See `Executor.close`."""

    # ---- rows -----------------------------------------------------------------------------------------------------------------

    def _apply(self, plan: StepPlan) -> None:
        for row in plan.ended:
            self._batch.end_row(row)
            self._end_sampling(row)
            self._prompt_logprobs.pop(row, None)
            self._timestamps.end_row(row)
            if self._media is not None:
                self._media.end_row(row)
        for start in plan.started:
            self._start(start)
        for fork in plan.forked:
            self._fork(fork)
        if plan.copied_blocks:
            self._forward.copy_blocks(plan.copied_blocks)

    def _start(self, start: RowStart) -> None:
        """Fill a row. Where its request's parameters cannot be used it draws nothing, but its keys and values are computed all the same:
        the blocks that the plan fills count as filled, and other sequences may share them."""
        token_ids = start.token_ids
        if start.pictures and not start.media:  # no tokens stand for them: layers attend to them
            assert self._media is not None
            (source,) = start.pictures
            self._forward.write_source(start.row, self._media.rows_of(source))
        if start.media:
            assert self._media is not None
            self._media.start_row(start.row, start.pictures, start.media)
            token_ids = _with_placeholders(token_ids, start.media)
        if not self._start_sampling(start.row, token_ids, start.num_prompt_tokens, start.sampling):
            token_ids = [token_id if 0 <= token_id < self._vocab_size else 0 for token_id in token_ids]
        self._batch.start_row(start.row, token_ids, start.num_prompt_tokens, start.num_computed_tokens, start.first_blocks)
        if start.state_slot is not None:
            self._forward.copy_states(start.row, self._first_slot + start.state_slot)
        if start.timestamps is not None:
            self._timestamps.start_row(start.row, start.timestamps)
        if start.sampling.num_prompt_logprobs is not None:
            prompt = token_ids[: start.num_prompt_tokens]
            self._prompt_logprobs[start.row] = _PromptLogprobs(prompt, start.sampling.num_prompt_logprobs)

    def _media_of(self, plan: StepPlan) -> tuple[list[MediaRows], NDArray[np.int32] | None]:
        """What a step shows of pictures, and its tokens' positions where these have axes."""
        assert self._media is not None
        num_computed = [self._batch.num_computed_tokens(row) for row in plan.rows]
        step = (plan.rows, num_computed, plan.num_scheduled_tokens)
        return self._media.of_step(*step), self._media.axis_positions(*step)

    def _fork(self, fork: RowFork) -> None:
        if fork.row == fork.source_row:
            self._end_sampling(fork.row)
        token_id = fork.token_id
        if token_id >= self._vocab_size:  # a prompt that ends with a picture or embeddings: the source has the placeholder
            token_id = self._batch.row_tokens(fork.source_row)[fork.num_tokens]
        if self._media is not None:
            self._media.fork_row(fork.row, fork.source_row)
        if fork.row != fork.source_row:
            self._forward.copy_states(fork.row, fork.source_row)
        self._batch.fork_row(fork.row, fork.source_row, fork.num_tokens, token_id)
        self._start_sampling(fork.row, self._batch.row_tokens(fork.row), self._batch.num_prompt_tokens(fork.row), fork.sampling)

    def _start_sampling(self, row: int, token_ids: list[int], num_prompt_tokens: int, sampling: RowSampling) -> bool:
        """Whether the sampler can draw for the row."""
        try:
            self._sampler.start_row(row, token_ids, num_prompt_tokens, sampling)
        except Exception as error:
            return self._fail(row, error)
        if sampling.named_token_ids:
            self._named[row] = sampling.named_token_ids
        if sampling.grammar is None:
            return True
        try:
            if self._matchers is None:
                raise ValueError("structured output is not served on this device yet")
            self._matchers.start_row(row, sampling.grammar, token_ids[num_prompt_tokens:], forces=sampling.num_logprobs is None)
        except Exception as error:
            self._end_sampling(row)
            return self._fail(row, error)
        return True

    def _fail(self, row: int, error: Exception) -> bool:
        log.warning("row %d cannot start: %s", row, error)
        self._failed[row] = f"the request cannot be run: {error}"
        return False

    def _end_sampling(self, row: int) -> None:
        self._named.pop(row, None)
        if self._failed.pop(row, None) is None:
            self._sampler.end_row(row)
        if self._matchers is not None:
            self._matchers.end_row(row)

    def _add_forced(self, plan: StepPlan) -> None:
        """Give rows the tokens that their grammars leave no choice about, as many as the plan has room for."""
        if self._matchers is None:
            return
        for row, num_drafts in zip(plan.rows, plan.num_drafts, strict=True):
            forced = self._matchers.forced(row, num_drafts) if num_drafts and row not in self._failed else []
            if forced:
                self._matchers.accept(row, forced)
                self._sampler.append(row, forced)
                for token_id in forced:
                    self._batch.append_tokens([row], [token_id])
                self._forced[row] = forced

    # ---- tokens ---------------------------------------------------------------------------------------------------------------

    def _draw(self, plan: StepPlan, logits: NDArray[np.float32], started: float) -> StepResult:
        errors = {row: self._failed[row] for row in plan.rows if row in self._failed} if self._failed else {}
        prompt_logprobs = self._score_prompts(plan, logits, errors) if self._prompt_logprobs else {}
        rows, logits_rows = drawing(plan, errors)
        masks = self._matchers.masks(rows) if self._matchers is not None and rows else None
        if self._timestamps:
            masks = self._timestamps.add(masks, rows, [logits[row] for row in logits_rows], self._outputs)
        token_ids, told = self._sampler.sample(logits, rows, logits_rows, masks)
        drawn = {row: (token, report) for row, token, report in zip(rows, token_ids, told, strict=True) if token is not None}
        self._batch.append_tokens(list(drawn), [token for token, _ in drawn.values()])
        if self._matchers is not None and masks is not None:
            self._follow(drawn, errors)
        forced, self._forced = self._forced, {}
        if len(drawn) < sum(plan.draws):
            # A row without a token ends, but the step after this one may be planned for it already: some token must stand there.
            tokenless = [row for row, draws in zip(plan.rows, plan.draws, strict=True) if draws and row not in drawn]
            self._batch.append_tokens(tokenless, [0] * len(tokenless))
            errors = dict.fromkeys(tokenless, NO_TOKEN) | errors
        drawn = {row: entry for row, entry in drawn.items() if row not in errors}
        return StepResult(
            plan.step_id,
            rows=list(drawn),
            token_ids=[[*forced.get(row, ()), token] for row, (token, _) in drawn.items()],
            logprobs=reports(drawn, self._named, rows, logits_rows, logits),
            prompt_logprobs=prompt_logprobs,
            errors=errors,
            run_ms=(time.perf_counter() - started) * 1e3,
        )

    def _outputs(self, row: int) -> list[int]:
        """The tokens that a row has drawn."""
        return self._batch.row_tokens(row)[self._batch.num_prompt_tokens(row) :]

    def _follow(self, drawn: dict[int, tuple[int, Any]], errors: dict[int, str]) -> None:
        """Tell the rows' grammars what was drawn; where one cannot go on, its request ends."""
        assert self._matchers is not None
        for row, (token_id, _) in drawn.items():
            if row in self._matchers:
                try:
                    self._matchers.accept(row, [token_id])
                except ValueError as error:
                    errors[row] = str(error)

    def _score_prompts(self, plan: StepPlan, logits: NDArray[np.float32], errors: dict[int, str]) -> dict[int, list[TokenLogprobs | None]]:
        """Entries for the prompt positions whose logits this step computed; those at position p describe token p + 1."""
        scored: dict[int, list[TokenLogprobs | None]] = {}
        for index, end in enumerate(accumulate(plan.num_logits)):
            row, num_logits = plan.rows[index], plan.num_logits[index]
            if row not in self._prompt_logprobs or num_logits == 0:
                continue
            first = self._batch.num_computed_tokens(row) - num_logits
            try:
                scored[row] = self._score(row, first, logits[end - num_logits : end])
            except Exception as error:
                log.warning("row %d: no log-probabilities of the prompt: %s", row, error)
                errors[row] = f"the prompt's log-probabilities cannot be computed: {error}"
        return {row: entries for row, entries in scored.items() if entries}

    def _score(self, row: int, first: int, logits: NDArray[np.float32]) -> list[TokenLogprobs | None]:
        """What the logits of the row's positions from `first` on say of the prompt's tokens after them."""
        wanted = self._prompt_logprobs[row]
        targets = wanted.prompt_token_ids[first + 1 : first + 1 + len(logits)]
        scores = self._sampler.score(logits[: len(targets)], targets, wanted.num_top)
        return [None if report is None else token_logprobs(token, report) for token, report in zip(targets, scores, strict=True)]


def _with_placeholders(token_ids: list[int], media: Sequence[MediaSpan]) -> list[int]:
    token_ids = list(token_ids)
    for span in media:
        token_ids[span.position : span.position + span.length] = [span.token_id] * span.length
    return token_ids
