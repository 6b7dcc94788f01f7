"""Sequences of models with windows hold the blocks that their tokens see, and no others."""

from __future__ import annotations

import pytest

from fakes.fake_runner import fake_output
from fakes.step_driver import StepDriver
from octavo.cache import BlockGroup, BlockManager
from octavo.scheduler import SequenceGroup
from octavo.step import RowSampling

WINDOW = 1024
CHUNK = 512
LENGTH = 8192


def prompt(length: int, first: int = 0) -> list[int]:
    return [(first + 7 * position) % 256 for position in range(length)]


def held(group: SequenceGroup) -> list[int]:
    return group.sequences[0].table.num_held


def test_a_window_bounds_the_blocks_of_a_long_sequence():
    driver = StepDriver(
        num_blocks=600, block_size=16, max_num_batched_tokens=CHUNK, max_model_len=9000, windows=(None, WINDOW), window_blocks=110
    )
    group = driver.add(prompt(LENGTH), max_tokens=40)
    most = 0
    while group.sequences[0].num_known_tokens < LENGTH + 20:
        driver.step()
        most = max(most, held(group)[1])
    assert held(group)[0] == (LENGTH + 20) // 16 + 1
    assert held(group)[1] <= WINDOW // 16 + 2
    assert most <= (WINDOW + CHUNK) // 16 + 1
    driver.run()
    assert group.sequences[0].output_token_ids == fake_output(prompt(LENGTH), 40, RowSampling(temperature=1.0, seed=7))
    assert driver.blocks.num_free == driver.blocks.num_blocks


def test_a_prefix_hit_takes_the_last_window_only():
    driver = StepDriver(num_blocks=200, max_num_batched_tokens=64, max_model_len=500, windows=(None, 20))
    driver.add(prompt(400), max_tokens=2)
    driver.run()
    again = driver.add(prompt(400), max_tokens=8)
    plan = driver.step()
    assert driver.begins(plan) == [396]
    assert plan.started[0].first_blocks == (0, 94)  # token 396 sees 377 .. 396
    assert [len(blocks[0]) for blocks in plan.new_block_ids] == [100, 6]
    driver.run()
    assert again.num_cached_tokens == 396


def test_a_hit_is_as_long_as_every_group_can_serve():
    driver = StepDriver(num_blocks=200, max_num_batched_tokens=64, max_model_len=500, windows=(None, 20), window_blocks=26)
    driver.add(prompt(200), max_tokens=1)
    driver.run()
    driver.add(prompt(90, first=3), max_tokens=1)  # its blocks evict windows of the first one's middle
    driver.run()
    again = driver.add(prompt(120), max_tokens=2)
    driver.run()
    assert again.num_cached_tokens < 116
    assert driver.scheduler.num_preemptions == 0


def test_what_the_pools_can_hold():
    blocks = BlockManager([BlockGroup(100), BlockGroup(8, window=9)], 4)
    assert blocks.max_tokens(max_chunk=8) == 400  # five blocks are enough for the windowed group, whatever the length
    assert blocks.max_tokens(max_chunk=64) == 32  # a chunk of 64 tokens would need more than it has
    table = blocks.new_table()
    assert blocks.has_room(table, 400, max_chunk=8, num_spare=0)
    assert not blocks.has_room(table, 400, max_chunk=8, num_spare=1)
    assert not blocks.has_room(table, 404, max_chunk=8, num_spare=0)


@pytest.mark.parametrize("windows", [(None,), (9,), (None, 9)])
def test_forks_share_what_is_in_sight(windows: tuple[int | None, ...]):
    driver = StepDriver(windows=windows, prefix_caching=False, max_num_batched_tokens=64)
    group = driver.add(prompt(22), max_tokens=6, n=3)
    driver.step()
    plan = driver.step()
    assert len(plan.forked) == 2 and len(plan.copied_blocks) == 2 * len(windows)
    driver.run()
    sampling = [RowSampling(temperature=1.0, seed=7, choice=choice) for choice in range(3)]
    assert [sequence.output_token_ids for sequence in group.sequences] == [fake_output(prompt(22), 6, one) for one in sampling]


def test_the_picture_of_the_blocks_has_every_group():
    driver = StepDriver(num_blocks=200, max_num_batched_tokens=64, max_model_len=500, windows=(None, 20))
    driver.add(prompt(40), max_tokens=8)
    driver.step()
    full, windowed = driver.scheduler.kv_blocks()
    assert (full.window, windowed.window) == (None, 20)
    assert len(full.states) == 200
    assert full.states.count(1) == 10  # of four tokens
    driver.run()
    full, windowed = driver.scheduler.kv_blocks()
    assert set(full.states) == {0, 2}
