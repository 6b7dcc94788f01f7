"""Drives a scheduler over a fake runner by hand, as the engine does: one step ahead, without a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from fakes.fake_runner import FakeRunner
from octavo.cache import BlockGroup, BlockManager
from octavo.scheduler import BeamParams, CoreRequest, Scheduler, SchedulerLimits, Sequence, SequenceGroup, SequenceOutput
from octavo.step import RowSampling, StepPlan, StepResult

__all__ = ["StepDriver"]


class StepDriver:
    """Sequences end at their `max_length`, or by one of their `end_token_ids`.

    `ahead` steps are planned before the result of the first one is taken; 0: none. `window_blocks`: blocks of each windowed group; None:
    as many as the others have.

    Attributes:
        outputs: what the scheduler reported, in order.
        groups: every request that was added, by its id.
    """

    def __init__(
        self,
        *,
        num_blocks: int = 64,
        block_size: int = 4,
        prefix_caching: bool = True,
        max_num_seqs: int = 8,
        max_num_batched_tokens: int = 32,
        max_num_logits: int = 32,
        max_model_len: int = 256,
        max_num_drafts: int = 0,
        max_priority: int | None = None,
        windows: tuple[int | None, ...] = (None,),
        window_blocks: int | None = None,
        ahead: int = 1,
        keeps_states: bool = False,
        num_snapshots: int = 0,
        **runner_options: float | None,
    ) -> None:
        groups = [BlockGroup(num_blocks if window is None else window_blocks or num_blocks, window) for window in windows]
        caching = prefix_caching and (not keeps_states or num_snapshots > 0)
        self.blocks = BlockManager(
            groups,
            block_size,
            prefix_caching=caching,
            hash_seed=1,
            keeps_states=keeps_states,
            num_snapshots=num_snapshots if keeps_states and caching else 0,
        )
        limits = SchedulerLimits(max_num_seqs, max_num_batched_tokens, max_num_logits, max_model_len, max_num_drafts, max_priority)
        self.scheduler = Scheduler(limits, self.blocks)
        self.runner = FakeRunner(
            block_size=block_size,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_logits=max_num_logits,
            windows=windows,
            keeps_states=keeps_states,
            **runner_options,  # type: ignore[arg-type]
        )
        self.outputs: list[SequenceOutput] = []
        self.groups: dict[str, SequenceGroup] = {}
        self._ahead = ahead
        self._in_flight: deque[StepResult] = deque()

    def add(
        self,
        prompt: list[int],
        max_tokens: int,
        *,
        n: int = 1,
        priority: int = 0,
        prompt_logprobs: int | None = None,
        temperature: float = 1.0,
        extras: bytes = b"",
        end_token_ids: Iterable[int] = (),
        beam_width: int | None = None,
        beams: BeamParams | None = None,
        min_tokens: int = 0,
    ) -> SequenceGroup:
        """`beam_width` and `beams` go together; `n` does not count then."""
        end_token_ids = frozenset(end_token_ids)
        samplings = tuple(
            RowSampling(
                temperature=temperature,
                seed=7,
                choice=choice,
                min_tokens=min_tokens,
                num_logprobs=None if beam_width is None else beam_width + len(end_token_ids),
                num_prompt_logprobs=None if choice else prompt_logprobs,
            )
            for choice in range(beam_width or n)
        )
        request_id = f"request-{len(self.groups)}"
        request = CoreRequest(request_id, prompt, samplings, max_tokens, end_token_ids, priority, extras, beams=beams)
        group = self.groups[request_id] = self.scheduler.add(request)
        return group

    def abort(self, group: SequenceGroup) -> None:
        self.scheduler.finish(group.request.request_id)

    def sequence(self, output: SequenceOutput) -> Sequence:
        """Whose output it is."""
        return self.groups[output.request_id].sequences[output.choice]

    def step(self, token_budget: int | None = None) -> StepPlan | None:
        """Plan and run a step, then take the result of the one before (of this one, unless one step ahead)."""
        plan = self.scheduler.schedule(token_budget)
        if plan is not None:
            self._in_flight.append(self.runner.run(plan))
        if self._in_flight and (plan is None or len(self._in_flight) > self._ahead):
            self.outputs += self.scheduler.update(self._in_flight.popleft())
        return plan

    def begins(self, plan: StepPlan) -> list[int]:
        """The positions at which the rows' chunks began, as the runner counts."""
        return self.runner.begins[plan.step_id]

    def run(self, max_steps: int = 10_000) -> int:
        """Step until nothing is left to do; returns how many steps that took."""
        for num_steps in range(max_steps):
            if not self.scheduler.has_work:
                return num_steps
            self.step()
        raise AssertionError(f"work is left after {max_steps} steps: a request starves")
