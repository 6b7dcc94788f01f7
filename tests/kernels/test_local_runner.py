"""The real runner over a toy executor: a fault of one row is that row's error, and the other rows never notice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
import pytest

from octavo._kernels import ThreadPool
from octavo.cache import BlockGroup, BlockManager
from octavo.runner.executor import StepShape
from octavo.runner.host_executor import HostExecutor
from octavo.runner.local_runner import LocalRunner
from octavo.scheduler import CoreRequest, Scheduler, SchedulerLimits
from octavo.step import BlockCopy, Profile, RowFork, RowSampling, RowStart, StepPlan, StepResult

VOCAB = 64
SHAPE = StepShape(max_num_seqs=4, max_num_tokens=32, max_num_logits=32, max_model_len=64, num_blocks=64, block_size=4)


class Successors:
    """The most probable token after t is t + 1.

    Attributes:
        slots: slot -> the token whose K and V it holds.
    """

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}
        self.num_steps = 0

    def copy_blocks(self, copies) -> None:
        for _, source, destination in copies:
            for offset in range(SHAPE.block_size):
                self.slots[destination * SHAPE.block_size + offset] = self.slots.get(source * SHAPE.block_size + offset, -1)

    def copy_states(self, row: int, source_row: int) -> None:
        """Its layers have none."""

    def profile(self) -> dict[str, tuple[int, float]]:
        return {"steps": (self.num_steps, 0.0)}

    def execute(self, batch, media=(), axis_positions=None) -> np.ndarray:
        self.num_steps += 1
        assert all(0 <= token_id < VOCAB for token_id in batch.token_ids), "the embedding has no such row"
        self.slots.update(zip(batch.slot_mapping[0].tolist(), batch.token_ids.tolist(), strict=True))
        logits = np.zeros((len(batch.logits_indices), VOCAB), np.float32)
        logits[np.arange(len(logits)), (batch.token_ids[batch.logits_indices] + 1) % VOCAB] = 5.0
        return logits


@pytest.fixture
def runner(pool: ThreadPool) -> Iterator[LocalRunner]:
    runner = LocalRunner(HostExecutor(Successors(), SHAPE, VOCAB, pool))
    yield runner
    runner.close()


def serve(runner: LocalRunner, *requests: tuple[list[int], RowSampling]) -> list[tuple[list[int], str | None]]:
    """Runs requests of 6 outputs together, one step ahead, as the engine does. Each one's tokens and its error."""
    limits = SchedulerLimits(SHAPE.max_num_seqs, SHAPE.max_num_tokens, SHAPE.max_num_logits, SHAPE.max_model_len)
    blocks = BlockManager([BlockGroup(SHAPE.num_blocks)], SHAPE.block_size)
    scheduler = Scheduler(limits, blocks)
    groups = [scheduler.add(CoreRequest(str(index), prompt, (sampling,), 6)) for index, (prompt, sampling) in enumerate(requests)]
    errors: dict[str, str | None] = {}
    in_flight = None
    while scheduler.has_work:
        plan = scheduler.schedule()
        submitted = None if plan is None else runner.submit(plan)
        before, in_flight = in_flight, submitted
        for output in scheduler.update(before.result(timeout=60)) if before else ():
            errors[output.request_id] = output.error
    if in_flight is not None:
        in_flight.result(timeout=60)
    scheduler.check_integrity()
    assert blocks.num_free == blocks.num_blocks
    return [(group.sequences[0].output_token_ids, errors[group.request.request_id]) for group in groups]


def step_plan(step_id: int, rows: dict[int, int], blocks: dict[int, list[int]] | None = None, **parts) -> StepPlan:
    """A plan of these rows -> tokens, all of which draw."""
    num_logits, num_drafts = parts.pop("num_logits", 1), parts.pop("num_drafts", 0)
    return StepPlan(
        step_id,
        **parts,
        rows=list(rows),
        num_scheduled_tokens=list(rows.values()),
        new_block_ids=[[(blocks or {}).get(row, []) for row in rows]],
        num_logits=[num_logits] * len(rows),
        draws=[True] * len(rows),
        num_drafts=[num_drafts] * len(rows),
    )


GOOD = ([1, 2, 3], RowSampling())
GOOD_ANSWER = ([4, 5, 6, 7, 8, 9], None)

WORST_LEGAL_VALUES = [
    RowSampling(top_k=2**31),
    RowSampling(temperature=1.0, top_p=1e-46),
    RowSampling(repetition_penalty=1e-46),
    RowSampling(bad_words=((VOCAB,),)),
    RowSampling(bad_words=((2, VOCAB + 7),)),
    RowSampling(min_tokens=3, blocked_until_min=(VOCAB,)),
    RowSampling(allowed_token_ids=(VOCAB,)),
    RowSampling(logit_bias=((VOCAB, 1.0),)),
    RowSampling(logit_bias=((1, float("inf")),)),
    RowSampling(temperature=float("nan")),
    RowSampling(num_logprobs=2**31),
    RowSampling(seed=-1),
]


@pytest.mark.parametrize("sampling", WORST_LEGAL_VALUES, ids=str)
def test_a_row_that_cannot_start_ends_alone(runner, sampling):
    bad, good = serve(runner, ([7, 8], sampling), GOOD)
    assert bad[0] == [] and "cannot be run" in bad[1]
    assert good == GOOD_ANSWER
    assert serve(runner, GOOD) == [GOOD_ANSWER], "the runner serves on, on the row that failed too"


def test_the_blocks_of_a_row_that_cannot_start_are_computed(runner):
    """The scheduler publishes blocks when a plan fills them: the next sequence of the same prompt may share them."""
    prompt = [*range(10), VOCAB]
    [bad] = serve(runner, (prompt, RowSampling()))
    slots = runner._executor._forward.slots
    assert bad[1] is not None
    assert [slots[slot] for slot in range(11)] == [*range(10), 0]


@pytest.mark.parametrize("token_id", [VOCAB, 2**31 - 1])
def test_a_prompt_beyond_the_vocabulary_ends_alone(runner, token_id):
    bad, good = serve(runner, ([7, token_id], RowSampling()), GOOD)
    assert bad[0] == [] and bad[1] is not None
    assert good == GOOD_ANSWER


def test_a_row_without_a_possible_token_ends_alone(runner):
    bad, good = serve(runner, ([7], RowSampling(allowed_token_ids=(3,), bad_words=((3,),))), GOOD)
    assert bad[0] == [] and "barred" in bad[1]
    assert good == GOOD_ANSWER


@pytest.mark.parametrize("num_prompt_logprobs", [-1, 2**63])
def test_prompt_logprobs_that_cannot_be_made_end_their_request_alone(runner, num_prompt_logprobs):
    bad, good = serve(runner, ([7, 8, 9], RowSampling(num_prompt_logprobs=num_prompt_logprobs)), GOOD)
    assert bad[0] == [] and "log-probabilities" in bad[1]
    assert good == GOOD_ANSWER


def test_a_failed_row_may_be_scheduled_again_before_it_ends(runner):
    sampling = RowSampling(top_k=2**31)
    starts = [RowStart(0, [5, 6], 2, sampling), RowStart(1, [1, 2], 2, RowSampling())]
    first = step_plan(0, {0: 2, 1: 2}, {0: [3], 1: [4]}, started=starts)
    second = step_plan(1, {0: 1, 1: 1})
    only_failed = step_plan(2, {0: 1})
    restarted = step_plan(3, {0: 2, 1: 1}, {0: [5]}, ended=[0], started=[replace(starts[0], sampling=RowSampling())])
    results = [future.result(timeout=60) for future in [runner.submit(plan) for plan in (first, second, only_failed, restarted)]]
    assert [result.rows for result in results] == [[1], [1], [], [0, 1]]
    assert [result.token_ids for result in results] == [[[3]], [[4]], [], [[7], [5]]]
    assert [list(result.errors) for result in results] == [[0], [0], [0], []]


def test_prompt_positions_that_are_not_finite_keep_their_places(pool):
    class Broken(Successors):
        def execute(self, batch, media=(), axis_positions=None) -> np.ndarray:
            logits = super().execute(batch)
            logits[np.isin(batch.positions[batch.logits_indices], (1, 2))] = np.nan
            return logits

    runner = LocalRunner(HostExecutor(Broken(), SHAPE, VOCAB, pool))
    start = RowStart(0, [5, 6, 7, 8, 9], 5, RowSampling(num_prompt_logprobs=0))
    result = runner.submit(step_plan(0, {0: 5}, {0: [0, 1]}, num_logits=5, started=[start])).result(timeout=60)
    runner.close()
    assert [entry and entry.token_id for entry in result.prompt_logprobs[0]] == [6, None, None, 9]
    assert result.token_ids == [[10]]


def test_a_fork_goes_on_from_copied_blocks_and_a_row_can_go_back(runner):
    """As beams do: row 1 continues the first five tokens of row 0 with another one, then row 0 itself does."""
    start = RowStart(0, [1, 2, 3, 4, 5, 6], 6, RowSampling())
    first = step_plan(0, {0: 6}, {0: [0, 1]}, started=[start])
    fork, back = RowFork(1, 0, 5, 30, RowSampling()), RowFork(0, 0, 5, 40, RowSampling(bad_words=((41,),)))
    second = step_plan(1, {1: 1, 0: 1}, {1: [2]}, forked=[fork, back], copied_blocks=[BlockCopy(0, 1, 2)])
    runner.submit(first)
    result = runner.submit(second).result(timeout=60)
    assert (result.rows, result.token_ids) == ([1, 0], [[31], [0]])
    slots = runner._executor._forward.slots
    assert [slots[slot] for slot in (8, 9, 4, 5)] == [5, 30, 5, 40]
    assert runner._executor._batch.row_tokens(1) == [1, 2, 3, 4, 5, 30, 31]


def test_drafts_that_nobody_proposes_are_left_out(runner):
    start = RowStart(0, [1, 2, 3], 3, RowSampling())
    runner.submit(step_plan(0, {0: 3}, {0: [0, 1]}, started=[start]))
    result = runner.submit(step_plan(1, {0: 3}, num_logits=3, num_drafts=2)).result(timeout=60)
    assert result.token_ids == [[5]]


def test_commands_run_in_order_with_plans(runner):
    start = RowStart(0, [1, 2], 2, RowSampling())
    runner.submit(step_plan(0, {0: 2}, {0: [0]}, started=[start]))
    answer = runner.call(Profile())
    runner.submit(step_plan(1, {0: 1}))
    assert answer.result(timeout=60) == {"steps": (1, 0.0)}


class Launches:
    """An executor of depth 3 that tells what was asked of it, in order."""

    depth = 3

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.told: SimpleQueue[int] = SimpleQueue()  # steps, as they are launched
        self.ended = threading.Event()  # of the steps on the device
        self.ended.set()
        self._launched: list[int] = []
        self.unprepared = 3

    def bind_thread(self) -> None:
        self.calls.append("bind")

    def launch(self, plan: StepPlan) -> None:
        if plan.step_id == 7:
            raise RuntimeError("no such row")
        self.calls.append(f"launch {plan.step_id}")
        self.told.put(plan.step_id)
        self._launched.append(plan.step_id)
        assert len(self._launched) <= self.depth

    def collect(self) -> StepResult:
        self.calls.append(f"collect {self._launched[0]}")
        return StepResult(self._launched.pop(0), [], [], [])

    def finished(self) -> bool:
        return self.ended.is_set()

    def idle(self) -> bool:
        self.unprepared -= 1
        return self.unprepared >= 0

    def close(self) -> None:
        self.calls.append("close")


def test_a_step_that_comes_late_is_launched_while_the_one_before_it_runs():
    executor = Launches()
    executor.ended.clear()
    runner = LocalRunner(executor)
    first = runner.submit(StepPlan(0))
    assert executor.told.get(timeout=60) == 0
    second = runner.submit(StepPlan(1))
    assert executor.told.get(timeout=60) == 1
    assert not first.done()
    executor.ended.set()
    assert (first.result(timeout=60).step_id, second.result(timeout=60).step_id) == (0, 1)
    runner.close()


def test_an_executor_prepares_steps_while_nobody_waits():
    executor = Launches()
    runner = LocalRunner(executor)
    while executor.unprepared >= 0:
        assert runner.submit(StepPlan(0)).result(timeout=60).step_id == 0
    runner.close()
    assert executor.unprepared == -1, "asked until nothing was left, and then no more"


def test_steps_are_launched_ahead_and_collected_in_order():
    executor = Launches()
    runner = LocalRunner(executor)
    futures = [runner.submit(StepPlan(step_id)) for step_id in range(9)]
    runner.close()
    assert [future.result().step_id for future in futures if future is not futures[7]] == [0, 1, 2, 3, 4, 5, 6, 8]
    with pytest.raises(RuntimeError, match="no such row"):
        futures[7].result()
    assert executor.calls[0] == "bind" and executor.calls[-1] == "close"
    assert [call for call in executor.calls if "collect" in call] == [f"collect {step_id}" for step_id in (0, 1, 2, 3, 4, 5, 6, 8)]
    assert executor.calls.index("collect 6") < executor.calls.index("launch 8"), "nothing is launched over a step that failed"
