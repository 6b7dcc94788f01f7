"""The scheduler's contract (python/octavo/scheduler/README.md), step by step, against the fake runner."""

from __future__ import annotations

import pytest

from fakes.fake_runner import fake_output
from fakes.step_driver import StepDriver
from octavo.errors import ConfigError
from octavo.scheduler import CoreRequest, SchedulerLimits
from octavo.step import RowSampling, StepResult
from octavo.types import FinishReason


def prompt(length: int, first: int = 0) -> list[int]:
    return [(first + 7 * position) % 256 for position in range(length)]


def outputs_of(group) -> list[list[int]]:
    return [sequence.output_token_ids for sequence in group.sequences]


def expected(prompt_token_ids: list[int], max_tokens: int, n: int = 1) -> list[list[int]]:
    return [fake_output(prompt_token_ids, max_tokens, RowSampling(temperature=1.0, seed=7, choice=choice)) for choice in range(n)]


def test_one_request_from_start_to_end():
    driver = StepDriver()
    group = driver.add(prompt(5), max_tokens=3)
    first, second, third = driver.step(), driver.step(), driver.step()
    assert (first.rows, driver.begins(first), first.num_scheduled_tokens, first.draws) == ([0], [0], [5], [True])
    assert first.started[0].token_ids == prompt(5)
    assert (driver.begins(second), second.num_scheduled_tokens) == ([5], [1])  # the value of token 5 is still in flight
    assert driver.begins(third) == [6]
    assert driver.step() is None  # the third output is drawn already: nothing beyond max_tokens is computed
    assert driver.step().ended == [0]
    driver.run()
    assert outputs_of(group) == expected(prompt(5), 3)
    driver.scheduler.check_integrity()


def test_chunked_prefill_shares_the_budget_with_decode_rows():
    driver = StepDriver(max_num_batched_tokens=8)
    driver.add(prompt(3), max_tokens=10)
    driver.step()
    long = driver.add(prompt(20, first=100), max_tokens=2)
    plan = driver.step()
    assert plan.num_scheduled_tokens == [1, 7]
    assert plan.num_logits == [1, 0] and plan.draws == [True, False]
    assert driver.step().num_scheduled_tokens == [1, 7]
    plan = driver.step()
    assert plan.num_scheduled_tokens == [1, 6] and plan.num_logits == [1, 1] and plan.draws == [True, True]
    driver.run()
    assert outputs_of(long) == expected(prompt(20, first=100), 2)


def test_an_urgent_long_prompt_leaves_each_running_sequence_its_token():
    driver = StepDriver(max_num_batched_tokens=8)
    for first in range(3):
        driver.add(prompt(2, first), max_tokens=20)
    driver.step()
    driver.add(prompt(40, first=9), max_tokens=2, priority=-1)
    driver.step()
    plan = driver.step()  # the urgent one stands first in the order by now
    assert plan.num_scheduled_tokens == [5, 1, 1, 1]


def test_priority_goes_before_arrival():
    driver = StepDriver(max_num_seqs=1)
    late_and_urgent = [driver.add(prompt(4, first), 1, priority=priority) for first, priority in ((0, 5), (1, 5), (2, 1))]
    driver.run()
    order = [driver.groups[output.request_id] for output in driver.outputs]
    assert order == [late_and_urgent[2], late_and_urgent[0], late_and_urgent[1]]


def test_prefix_cache_serves_full_blocks_of_a_second_request():
    driver = StepDriver(block_size=4)
    driver.add(prompt(18), max_tokens=2)
    driver.run()
    again = driver.add(prompt(18), max_tokens=2)
    plan = driver.step()
    assert driver.begins(plan) == [16] and plan.num_scheduled_tokens == [2]
    assert len(plan.new_block_ids[0][0]) == 5  # a started row gets its whole table
    driver.run()
    assert again.num_cached_tokens == 16
    assert outputs_of(again) == expected(prompt(18), 2)


def test_blocks_are_shared_as_soon_as_a_submitted_step_computes_them():
    driver = StepDriver(max_num_batched_tokens=16, block_size=4)
    driver.add(prompt(16), max_tokens=4)
    second = driver.add([*prompt(16), 1, 2, 3], max_tokens=4)
    driver.step()
    plan = driver.step()  # the first step's result has not come back
    assert driver.begins(plan) == [16, 16]
    driver.run()
    assert second.num_cached_tokens == 16
    assert outputs_of(second) == expected([*prompt(16), 1, 2, 3], 4)


def test_extras_keep_prefixes_apart():
    driver = StepDriver()
    driver.add(prompt(18), 2, extras=b"tenant a")
    driver.run()
    other = driver.add(prompt(18), 2, extras=b"tenant b")
    driver.run()
    assert other.num_cached_tokens == 0


@pytest.mark.parametrize("prefix_caching", [True, False])
def test_choices_wait_for_the_prompt_and_fork_it(prefix_caching: bool):
    driver = StepDriver(prefix_caching=prefix_caching, max_num_batched_tokens=8, block_size=4)
    group = driver.add(prompt(14), max_tokens=5, n=3)
    assert [len(driver.step().rows) for _ in range(2)] == [1, 1]  # 8 + 6 prompt tokens: choice 0 alone
    plan = driver.step()
    assert driver.begins(plan) == [14, 13, 13] and plan.num_scheduled_tokens == [1, 1, 1]
    blocks = group.sequences[0].table.block_ids[0]
    assert [(fork.source_row, fork.num_tokens, fork.token_id) for fork in plan.forked] == [(0, 13, prompt(14)[13])] * 2
    copies = [fork_blocks[0] for fork_blocks in plan.new_block_ids[0][1:]]
    assert plan.copied_blocks == [(0, blocks[3], copy) for copy in copies]  # the last block is not full: each has its own
    assert all(sequence.table.block_ids[0][:3] == blocks[:3] for sequence in group.sequences)
    driver.run()
    assert outputs_of(group) == expected(prompt(14), 5, n=3)
    assert len({tuple(output) for output in outputs_of(group)}) == 3
    driver.scheduler.check_integrity()


def test_a_fork_leaves_the_last_prompt_token_to_compute():
    driver = StepDriver(block_size=4)
    driver.add(prompt(8), max_tokens=3, n=2)
    driver.step()
    plan = driver.step()
    assert driver.begins(plan) == [8, 7] and plan.num_scheduled_tokens == [1, 1]


def test_choices_come_through_though_choice_0_ends_before_they_start():
    driver = StepDriver(prefix_caching=False, max_num_seqs=1)
    group = driver.add(prompt(9), max_tokens=1, n=3)
    driver.run()
    assert outputs_of(group) == expected(prompt(9), 1, n=3)


@pytest.mark.parametrize("prefix_caching", [True, False])
def test_preemption_recomputes_and_keeps_outputs(prefix_caching: bool):
    driver = StepDriver(num_blocks=8, block_size=4, prefix_caching=prefix_caching)
    groups = [driver.add(prompt(6, first), max_tokens=16, priority=priority) for first, priority in ((0, 0), (1, 1), (2, 0))]
    driver.run()
    assert driver.scheduler.num_preemptions > 0
    for first, group in enumerate(groups):
        assert outputs_of(group) == expected(prompt(6, first), 16)
    finished = [driver.groups[output.request_id] for output in driver.outputs if output.finish_reason is FinishReason.LENGTH]
    assert finished[-1] is groups[1]  # the least urgent one is the victim
    driver.scheduler.check_integrity()


def test_a_late_result_of_a_preempted_sequence_counts():
    driver = StepDriver(num_blocks=6, block_size=4, prefix_caching=False)
    driver.add(prompt(8), max_tokens=8)
    victim = driver.add(prompt(8, first=1), max_tokens=8)
    while driver.scheduler.num_preemptions == 0:
        driver.step()
    sequence = victim.sequences[0]
    assert sequence.row is None and sequence.table.num_blocks == 0
    known = sequence.num_known_tokens
    assert known + sequence.num_in_flight_tokens > 8
    driver.run()
    drawn = [token_id for output in driver.outputs if driver.sequence(output) is sequence for token_id in output.token_ids]
    assert drawn == outputs_of(victim)[0] == expected(prompt(8, first=1), 8)[0]  # each token drawn once


def test_a_late_result_of_an_aborted_sequence_is_ignored():
    driver = StepDriver()
    group = driver.add(prompt(5), max_tokens=9)
    driver.step()
    driver.abort(group)
    assert driver.step() is None  # the row's end waits for the next plan ...
    assert driver.outputs == []
    plan = driver.step()  # ... or, with nothing in flight, an empty one
    assert plan.rows == [] and plan.ended == [0]
    driver.run()
    assert not driver.scheduler.has_work
    driver.scheduler.check_integrity()


def test_a_late_stop_costs_one_token_that_nobody_sees():
    driver = StepDriver()
    group = driver.add(prompt(5), max_tokens=9, end_token_ids=expected(prompt(5), 2)[0][1:])
    driver.run()
    assert driver.outputs[-1].finish_reason is FinishReason.STOP
    assert outputs_of(group) == expected(prompt(5), 2)
    assert sum(sum(plan.draws) for plan in driver.runner.plans) == 3


def test_a_freed_row_may_end_and_start_in_one_plan():
    driver = StepDriver(max_num_seqs=1)
    driver.add(prompt(3), max_tokens=1)
    driver.add(prompt(3, first=1), max_tokens=1)
    plans = [driver.step() for _ in range(3)]
    assert plans[1] is None and plans[2].ended == [0] and [start.row for start in plans[2].started] == [0]


def test_prompt_logprobs_ask_for_the_logits_of_every_prompt_position():
    driver = StepDriver(max_num_batched_tokens=8, max_num_logits=4, max_num_seqs=2)
    driver.add(prompt(18), max_tokens=1)
    driver.run()
    driver.outputs.clear()
    group = driver.add(prompt(18), max_tokens=1, prompt_logprobs=1)
    plan = driver.step()
    assert (driver.begins(plan), plan.num_scheduled_tokens, plan.num_logits) == ([0], [4], [4])  # no prefix lookup
    driver.run()
    reported = [entry.token_id for output in driver.outputs for entry in output.prompt_logprobs or []]
    assert reported == prompt(18)[1:]
    assert group.num_cached_tokens == 0


def test_prompt_logprobs_come_once_though_the_sequence_is_preempted():
    driver = StepDriver(num_blocks=8, block_size=4, max_num_batched_tokens=2, max_num_logits=2)
    driver.add(prompt(4, first=3), max_tokens=28)
    group = driver.add(prompt(16), max_tokens=2, prompt_logprobs=0)
    driver.run()
    reported = [entry.token_id for output in driver.outputs for entry in output.prompt_logprobs or []]
    assert driver.scheduler.num_preemptions > 0 and reported == prompt(16)[1:]
    assert outputs_of(group) == expected(prompt(16), 2)


def test_a_row_error_is_reported_and_ends_only_its_sequence():
    bad = expected(prompt(5), 3)[0][2]
    driver = StepDriver(error_token_id=bad)
    group = driver.add(prompt(5), max_tokens=9)
    other = driver.add([77], max_tokens=2)
    assert bad not in expected([77], 2)[0]
    driver.run()
    assert [output.error for output in driver.outputs if output.error] == ["the logits are not finite"]
    assert len(outputs_of(group)[0]) == 2 and outputs_of(other) == expected([77], 2)
    driver.scheduler.check_integrity()


def test_a_head_that_does_not_fit_is_not_overtaken():
    driver = StepDriver(num_blocks=8, block_size=4)
    driver.add(prompt(12), max_tokens=6)
    big = driver.add(prompt(24, first=1), max_tokens=2)
    small = driver.add(prompt(2, first=2), max_tokens=2)
    driver.run()
    order = [driver.groups[output.request_id] for output in driver.outputs]
    assert order.index(big) < order.index(small)
    assert driver.scheduler.num_preemptions == 0  # it waited for the room that it needs


def test_counts():
    driver = StepDriver(max_num_seqs=2)
    driver.add(prompt(4), max_tokens=4, n=3)
    driver.add(prompt(4, first=1), max_tokens=4)
    assert (driver.scheduler.num_running, driver.scheduler.num_waiting) == (0, 2)
    driver.step()
    driver.step()
    assert (driver.scheduler.num_running, driver.scheduler.num_waiting) == (2, 0)
    assert 0 < driver.scheduler.kv_usage < 1
    driver.run()
    assert (driver.scheduler.num_running, driver.scheduler.num_waiting, driver.scheduler.kv_usage) == (0, 0, 0)


def test_what_can_never_fit_is_refused():
    driver = StepDriver(num_blocks=4, block_size=4, max_model_len=256)
    assert driver.scheduler.max_sequence_length == 17  # the last token needs no KV
    with pytest.raises(ValueError, match="17 tokens"):
        driver.add(prompt(12), max_tokens=6)
    group = driver.add(prompt(12), max_tokens=5)
    with pytest.raises(ValueError, match="in use"):
        driver.scheduler.add(CoreRequest(group.request.request_id, [1], (RowSampling(),), 1))
    driver.run()
    assert outputs_of(group) == expected(prompt(12), 5)


def test_a_result_out_of_order_is_an_error():
    driver = StepDriver()
    driver.add(prompt(4), max_tokens=2)
    driver.scheduler.schedule()
    with pytest.raises(RuntimeError, match="step 5"):
        driver.scheduler.update(StepResult(5, [], [], []))


def test_a_missing_token_is_an_error():
    driver = StepDriver()
    driver.add(prompt(4), max_tokens=2)
    driver.scheduler.schedule()
    with pytest.raises(RuntimeError, match="row 0"):
        driver.scheduler.update(StepResult(0, [], [], []))


def test_limits_must_be_positive():
    with pytest.raises(ConfigError, match="max_num_logits is 0"):
        SchedulerLimits(1, 1, 0, 1)
