"""The budget is shared among the prompts that are computed: how soon each one ends, and what a short one waits for."""

from __future__ import annotations

from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.step_driver import StepDriver
from octavo.scheduler import Sequence, SequenceGroup
from octavo.scheduler.budget import share_budget
from octavo.step import StepPlan


def driver_of(budget: int, num_rows: int = 12) -> StepDriver:
    return StepDriver(
        num_blocks=4000,
        block_size=4,
        max_num_seqs=num_rows,
        max_num_batched_tokens=budget,
        max_num_logits=num_rows,
        max_model_len=8000,
    )


def prompt(length: int, first: int) -> list[int]:
    return [(first * 31 + position * 7) % 256 for position in range(length)]


def prefill(driver: StepDriver, budget: int) -> dict[Sequence, tuple[int, int]]:
    """Run to the end. For each sequence: the steps that its prompt took, and the most prompts that were computed at once meanwhile."""
    took: dict[Sequence, tuple[int, int]] = {}
    owners: dict[int, Sequence] = {}
    while driver.scheduler.has_work:
        plan = driver.step(budget)
        if plan is None or not plan.rows:
            continue
        owners.update({sequence.row: sequence for sequence in driver.scheduler.batch.running if sequence.row is not None})
        prompts = [owners[row] for row, begin in zip(plan.rows, driver.begins(plan), strict=True) if begin < owners[row].num_prompt_tokens]
        for sequence in prompts:
            steps, most = took.get(sequence, (0, 0))
            took[sequence] = steps + 1, max(most, len(prompts))
        check_longest(plan, driver.begins(plan), owners, len(prompts))
    return took


def check_longest(plan: StepPlan, begins: list[int], owners: dict[int, Sequence], num_prompts: int) -> None:
    """Of the prompts that ran before this step, the one that lacks most has at least its part of an equal division."""
    new = {start.row for start in plan.started}
    chunks = zip(plan.rows, begins, plan.num_scheduled_tokens, strict=True)
    left = [(owners[row].num_prompt_tokens - begin, num_tokens) for row, begin, num_tokens in chunks if row not in new]
    if left and num_prompts:
        missing, num_tokens = max(left)
        assert num_tokens >= min(missing, sum(plan.num_scheduled_tokens) // num_prompts), "the longest prompt has less than its share"


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(2, 400), min_size=1, max_size=12), budget=st.integers(12, 64), late=st.integers(0, 6))
def test_a_prompt_that_holds_a_row_ends_within_its_share_of_steps(lengths: list[int], budget: int, late: int):
    driver = driver_of(budget)
    for index, length in enumerate(lengths[late:]):
        driver.add(prompt(length, index), max_tokens=1)
    for index, length in enumerate(lengths[:late]):
        driver.step(budget)
        driver.add(prompt(length, 100 + index), max_tokens=1)
    for sequence, (steps, most) in prefill(driver, budget).items():
        assert steps <= ceil(sequence.num_prompt_tokens * most / budget) + 2


def test_a_budget_is_shared_equally_and_what_one_does_not_need_goes_to_the_others():
    driver = driver_of(30)
    sequences = [driver.add(prompt(length, index), max_tokens=1).sequences[0] for index, length in enumerate((90, 45, 4))]
    assert list(share_budget(sequences, 30).values()) == [13, 13, 4]
    assert list(share_budget(sequences[:2], 30).values()) == [15, 15]
    assert list(share_budget(sequences, 3).values()) == [1, 1, 1]


def test_fractions_of_a_share_are_carried_over():
    driver = driver_of(31)
    sequences = [driver.add(prompt(300, index), max_tokens=1).sequences[0] for index in range(3)]
    given_tokens = [list(share_budget(sequences, 31).values()) for _ in range(6)]
    assert [sum(column) for column in zip(*given_tokens, strict=True)] == [62, 62, 62]


def test_a_short_prompt_does_not_wait_for_long_ones():
    driver = driver_of(budget=512)
    for index in range(8):
        driver.add(prompt(3900, index), max_tokens=4)
    for _ in range(3):
        driver.step()
    short = driver.add(prompt(60, 99), max_tokens=4)
    first = driver.step()
    assert [len(start.token_ids) for start in first.started] == [60]
    assert sorted(first.num_scheduled_tokens) == [60, 452]
    driver.step()
    assert short.sequences[0].num_known_tokens == 61, "the token that the step before drew has come"


def test_prompts_of_one_length_are_computed_one_after_the_other_and_hit_the_prefix_cache():
    driver = driver_of(budget=64)
    groups = [driver.add([*prompt(400, 0), index], max_tokens=2) for index in range(5)]
    driver.run()
    assert [group.num_cached_tokens for group in groups] == [0, 384, 384, 384, 400]


def test_whoever_is_overtaken_often_starts_early_too():
    driver = driver_of(budget=64)
    driver.add(prompt(3900, 0), max_tokens=1)
    driver.step()
    head = driver.add(prompt(3900, 1), max_tokens=1).sequences[0]
    num_overtakes = 0
    while head.row is None:
        driver.add(prompt(20, 100 + num_overtakes), max_tokens=1)
        driver.step()
        num_overtakes += 1
    assert num_overtakes == 9


def test_the_more_urgent_prompt_has_all_but_a_token_of_the_others():
    driver = driver_of(budget=32)
    for priority in (0, -1):
        driver.add(prompt(300, priority), max_tokens=1, priority=priority)
        driver.step()
    plan = driver.step()
    assert plan.num_scheduled_tokens == [31, 1]


def test_a_priority_is_capped():
    driver = StepDriver(max_num_seqs=1, max_priority=-1)
    groups = [driver.add(prompt(4, index), 1, priority=priority) for index, priority in enumerate((-1, -9, 5))]
    assert [group.priority for group in groups] == [-1, -1, 5]
    driver.run()
    assert ended(driver) == groups


def ended(driver: StepDriver) -> list[SequenceGroup]:
    return [driver.groups[output.request_id] for output in driver.outputs if output.token_ids]
