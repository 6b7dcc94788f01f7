"""Whatever arrives, and whenever: every request ends, with the tokens that it would get alone, and nothing is lost.

The fake runner asserts the rest of the contract in every step: budgets, known tokens, owned blocks, no foreign KV.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import eq

from hypothesis import event, given, settings
from hypothesis import strategies as st

from fakes.fake_runner import fake_output
from fakes.step_driver import StepDriver
from octavo.scheduler import Sequence, SequenceGroup
from octavo.types import FinishReason

BLOCK_SIZE = 4
END_TOKEN_IDS = frozenset(range(0, 256, 32))


@dataclass(frozen=True)
class Arrival:
    at_step: int
    prompt: list[int]
    max_tokens: int
    n: int
    priority: int
    prompt_logprobs: bool
    abort_after: int | None  # steps


@dataclass(frozen=True)
class Setting:
    num_blocks: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_num_logits: int
    prefix_caching: bool
    ahead: int
    max_num_drafts: int
    windows: tuple[int | None, ...]
    window_blocks: int
    keeps_states: bool = False
    num_snapshots: int = 0


prompts = st.builds(
    lambda shared, own: [*range(shared), *own],  # equal beginnings, so that the prefix cache is hit
    st.integers(0, 20),
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
)
arrivals = st.builds(
    Arrival,
    at_step=st.integers(0, 12),
    prompt=prompts,
    max_tokens=st.integers(1, 24),
    n=st.sampled_from([1, 1, 1, 2, 4]),
    priority=st.integers(-1, 1),
    prompt_logprobs=st.booleans(),
    abort_after=st.one_of(st.none(), st.none(), st.integers(0, 12)),
)
settings_of_an_engine = st.builds(
    Setting,
    num_blocks=st.integers(14, 20),  # the longest sequence needs 14: 20 + 12 + 24 tokens, of which the last has no KV
    max_num_seqs=st.integers(1, 6),
    max_num_batched_tokens=st.integers(1, 40),
    max_num_logits=st.integers(1, 12),
    prefix_caching=st.booleans(),
    ahead=st.integers(0, 2),
    max_num_drafts=st.sampled_from([0, 0, 1, 3]),
    windows=st.sampled_from([(None,), (None,), (7,), (None, 5), (3, None, 9)]),
    window_blocks=st.integers(14, 20),
    keeps_states=st.booleans(),
    num_snapshots=st.sampled_from([0, 1, 2, 8]),
)


def make_driver(setting: Setting) -> StepDriver:
    return StepDriver(
        num_blocks=setting.num_blocks,
        block_size=BLOCK_SIZE,
        prefix_caching=setting.prefix_caching,
        max_num_seqs=setting.max_num_seqs,
        max_num_batched_tokens=setting.max_num_batched_tokens,
        max_num_logits=setting.max_num_logits,
        ahead=setting.ahead,
        max_num_drafts=0 if setting.keeps_states else setting.max_num_drafts,
        windows=setting.windows,
        window_blocks=setting.window_blocks,
        keeps_states=setting.keeps_states,
        num_snapshots=setting.num_snapshots,
    )


def play(driver: StepDriver, schedule: list[Arrival]) -> dict[int, SequenceGroup]:
    """Let the requests arrive and be aborted when they say; returns their groups by position in `schedule`."""
    groups: dict[int, SequenceGroup] = {}
    last_event = max((arrival.at_step + (arrival.abort_after or 0) for arrival in schedule), default=0)
    for step in range(last_event + 1):
        for index, arrival in enumerate(schedule):
            if arrival.at_step == step:
                logprobs = 0 if arrival.prompt_logprobs else None
                groups[index] = driver.add(
                    arrival.prompt,
                    arrival.max_tokens,
                    n=arrival.n,
                    priority=arrival.priority,
                    prompt_logprobs=logprobs,
                    end_token_ids=END_TOKEN_IDS,
                )
            if arrival.abort_after is not None and arrival.at_step + arrival.abort_after == step:
                driver.abort(groups[index])
        step_and_check(driver)
    driver.run(max_steps=5000)
    return groups


def step_and_check(driver: StepDriver) -> None:
    """Every running sequence with work has its share in every step, unless one was preempted; then nobody starts."""
    scheduler = driver.scheduler
    due = {sequence.row for sequence in scheduler.batch.running if sequence.num_uncomputed_tokens}
    num_preemptions = scheduler.num_preemptions
    plan = driver.step()
    scheduler.check_integrity()
    if scheduler.num_preemptions == num_preemptions:
        assert due <= set(plan.rows if plan else ()), "a running sequence was passed over"
    elif plan is not None:
        assert not plan.started, "a sequence started in a step that preempted another one"


def expected_output(arrival: Arrival, group: SequenceGroup, choice: int) -> list[int]:
    tokens = fake_output(arrival.prompt, arrival.max_tokens, group.sequences[choice].sampling)
    end = next((index for index, token_id in enumerate(tokens) if token_id in END_TOKEN_IDS), len(tokens) - 1)
    return tokens[: end + 1]


@settings(max_examples=200, deadline=None)
@given(setting=settings_of_an_engine, schedule=st.lists(arrivals, min_size=1, max_size=12))
def test_every_request_ends_with_its_own_tokens(setting: Setting, schedule: list[Arrival]):
    driver = make_driver(setting)
    groups = play(driver, schedule)
    event(f"preemptions: {min(driver.scheduler.num_preemptions, 3)}")
    for index, arrival in enumerate(schedule):
        group = groups[index]
        for choice, sequence in enumerate(group.sequences):
            assert sequence.finished
            expected = expected_output(arrival, group, choice)
            if arrival.abort_after is None:
                assert sequence.output_token_ids == expected
                assert reasons(driver, sequence) == [FinishReason.STOP if expected[-1] in END_TOKEN_IDS else FinishReason.LENGTH]
            else:
                assert all(map(eq, sequence.output_token_ids, expected))
        if arrival.prompt_logprobs and arrival.abort_after is None:
            assert prompt_tokens_reported(driver, group) == arrival.prompt[1:]
    assert not driver.runner.rows, "the runner holds a row that nobody ended"
    assert driver.blocks.num_free == driver.blocks.num_blocks
    driver.scheduler.check_integrity()


def reasons(driver: StepDriver, sequence: Sequence) -> list[FinishReason]:
    return [output.finish_reason for output in driver.outputs if output.finish_reason is not None and driver.sequence(output) is sequence]


def prompt_tokens_reported(driver: StepDriver, group: SequenceGroup) -> list[int]:
    mine = (output for output in driver.outputs if driver.sequence(output) is group.sequences[0])
    return [entry.token_id for output in mine for entry in output.prompt_logprobs or []]


@settings(max_examples=100, deadline=None)
@given(setting=settings_of_an_engine, schedule=st.lists(arrivals, min_size=2, max_size=30))
def test_equal_priorities_start_in_order_but_for_a_bounded_number_of_overtakes(setting: Setting, schedule: list[Arrival]):
    """Rule 3: out of order only where running prompts want the whole step, and not past one that was overtaken 8 times."""
    driver = make_driver(setting)
    for arrival in schedule:
        driver.add(arrival.prompt, arrival.max_tokens, n=arrival.n)
    overtaken: Counter[Sequence] = Counter()
    while driver.scheduler.has_work:
        waiting, running = list(driver.scheduler.batch.waiting), list(driver.scheduler.batch.running)
        before = [sequence for sequence in waiting if not sequence.num_in_flight_tokens]  # else its last result is awaited
        wanted = sum(sequence.num_uncomputed_tokens for sequence in running)
        driver.step()
        still_waiting = set(driver.scheduler.batch.waiting)
        started = [sequence not in still_waiting for sequence in before]
        if in_order(started):
            continue
        event("overtaken")
        assert wanted >= setting.max_num_batched_tokens, "one overtook another though there were tokens for both"
        if before[0] is waiting[0] and not started[0]:
            assert overtaken[before[0]] < 8, "the first one waits though it was overtaken 8 times"
            overtaken[before[0]] += sum(started)


def in_order(started: list[bool]) -> bool:
    """Whether those that started stand before all that still wait."""
    return started == sorted(started, reverse=True)
