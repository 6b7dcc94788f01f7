"""The scheduler with requests that want vectors: whole or in chunks, with and without a cache."""

from __future__ import annotations

import pytest

from octavo.cache import BlockGroup, BlockManager
from octavo.scheduler import CoreRequest, Scheduler, SchedulerLimits
from octavo.step import RowPooling, RowSampling, StepPlan, StepResult


def scheduler(*, groups: int = 1, max_num_batched_tokens: int = 16, max_num_seqs: int = 4) -> Scheduler:
    limits = SchedulerLimits(max_num_seqs, max_num_batched_tokens, 8, 64)
    return Scheduler(limits, BlockManager([BlockGroup(32)] * groups, 4, hash_seed=1))


def request(name: str, num_tokens: int, **settings: object) -> CoreRequest:
    return CoreRequest(name, list(range(1, num_tokens + 1)), (RowSampling(),), 1, pooling=RowPooling(), **settings)  # type: ignore[arg-type]


def run(of: Scheduler) -> tuple[list[StepPlan], list[str]]:
    """Every plan until nothing is left to do, and the requests in the order in which their vectors came."""
    plans, ended, computed = [], [], {}
    while of.has_work:
        plan = of.schedule()
        assert plan is not None
        plans.append(plan)
        rows = {start.row: start for start in plan.started}
        for start in rows.values():
            computed[start.row] = (len(start.token_ids), start.num_computed_tokens)
        pooled = {}
        for row, count in zip(plan.rows, plan.num_scheduled_tokens, strict=True):
            total, done = computed[row]
            computed[row] = (total, done + count)
            if done + count == total:
                pooled[row] = b"vectors"
        for output in of.update(StepResult(plan.step_id, [], [], [], pooled=pooled)):
            assert output.pooled == b"vectors" and not output.token_ids
            ended.append(output.request_id)
        of.check_integrity()
    return plans, ended


def test_a_pooled_sequence_draws_nothing_and_asks_for_no_logits():
    of = scheduler()
    of.add(request("a", 40))
    plans, ended = run(of)
    assert ended == ["a"]
    assert [plan.num_scheduled_tokens for plan in plans] == [[16], [16], [8], []]
    assert not any(any(plan.draws) or any(plan.num_logits) for plan in plans)
    assert plans[0].started[0].pooling == RowPooling()


def test_whole_prompts_are_never_cut_and_hold_no_blocks():
    of = scheduler(groups=0)
    for name, length in (("a", 9), ("b", 6), ("c", 2), ("d", 16)):
        of.add(request(name, length, whole=True))
    plans, ended = run(of)
    assert [plan.num_scheduled_tokens for plan in plans if plan.rows] == [[9, 6], [2], [16]]
    assert ended == ["a", "b", "c", "d"]
    assert all(plan.new_block_ids == [] for plan in plans)
    assert of.kv_usage == 0.0


def test_a_whole_prompt_beyond_a_step_is_refused():
    with pytest.raises(ValueError, match="must fit a step's token budget"):
        scheduler().add(request("a", 17, whole=True))


@pytest.mark.parametrize(("reuses_prefix", "num_computed"), [(True, 36), (False, 0)])
def test_prefixes_are_reused_where_they_may_be(reuses_prefix, num_computed):
    of = scheduler()
    of.add(request("a", 40))
    run(of)
    of.add(request("b", 40, reuses_prefix=reuses_prefix))
    plans, _ = run(of)
    assert plans[0].started[0].num_computed_tokens == num_computed


def test_one_token_is_pooled_too():
    of = scheduler(groups=0)
    of.add(request("a", 1, whole=True))
    plans, ended = run(of)
    assert ended == ["a"] and plans[0].draws == [False]
