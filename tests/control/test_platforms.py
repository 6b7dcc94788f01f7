"""Cores, container limits and memory, read from a made-up /proc and /sys; which thread runs where."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from octavo._kernels import bind_memory_to_node
from octavo.assemble import step_shape
from octavo.config import EngineConfig, PlacementConfig
from octavo.errors import ConfigError
from octavo.platforms import cpu, open_platform, platform_name
from octavo.platforms._kv_share import with_blocks
from octavo.platforms._processor import ThreadPlacement, available_memory_bytes, num_cores, place_threads
from octavo.platforms.cpu import build_pool
from octavo.runner.executor import CacheGroupBytes, StepShape

V1_CPU = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2 = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
GIB = 1 << 30


class Machine:
    """A folder like /: eight processors, two NUMA nodes, processors i and i + 4 on one core."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal: {99 * 2**20} kB\nMemAvailable: {64 * 2**20} kB\n")
        self.write("sys/devices/system/node/online", "0-1")
        for processor in range(8):
            siblings = f"{processor % 4},{processor % 4 + 4}"
            self.write(f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list", siblings)
        for node, processors in enumerate(("0-1,4-5", "2-3,6-7")):
            self.write(f"sys/devices/system/node/node{node}/cpulist", processors)
            sizes = {"MemTotal": 32, "MemFree": 6 + node, "Inactive(file)": 2}
            meminfo = "".join(f"Node {node} {name}: {size * 2**20} kB\n" for name, size in sizes.items())
            self.write(f"sys/devices/system/node/node{node}/meminfo", meminfo)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def in_group(self, membership: str, mounts: str) -> None:
        self.write("proc/self/cgroup", membership)
        self.write("proc/self/mountinfo", mounts)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return Machine(tmp_path)


def test_the_default_is_one_thread_for_each_core(machine: Machine):
    assert num_cores(root=machine.root) == 8
    assert place_threads(None, root=machine.root) == ThreadPlacement(4)


def test_an_affinity_mask_leaves_the_cores_it_touches(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6})
    assert place_threads(None, root=machine.root).num_threads == 2
    assert place_threads(3, pin=True, root=machine.root).affinity == ((1,), (6,), (5,))


def test_more_threads_than_processors_are_cut(machine: Machine):
    assert place_threads(9, root=machine.root).num_threads == 8
    assert place_threads(7, root=machine.root).num_threads == 7


def test_pinned_threads_take_cores_before_hyperthreads(machine: Machine):
    assert place_threads(5, pin=True, root=machine.root).affinity == ((0,), (1,), (2,), (3,), (4,))


def test_a_node_restricts_threads_and_memory(machine: Machine):
    assert place_threads(None, numa_node=1, root=machine.root) == ThreadPlacement(2, ((2, 3, 6, 7),) * 2)
    assert place_threads(9, pin=True, numa_node=1, root=machine.root).affinity == ((2,), (3,), (6,), (7,))
    assert available_memory_bytes(1, machine.root) == 9 * GIB
    assert available_memory_bytes(None, machine.root) == 64 * GIB


def test_a_node_that_is_not_there_or_not_allowed_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="--numa-node is 2, which does not exist; this machine has 0, 1"):
        place_threads(None, numa_node=2, root=machine.root)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(ConfigError, match="--numa-node is 1, but this process may use no processor"):
        place_threads(None, numa_node=1, root=machine.root)


def test_a_machine_that_tells_nothing_has_its_affinity_mask(tmp_path: Path, machine: Machine):
    assert place_threads(None, root=tmp_path / "empty") == ThreadPlacement(8)
    with pytest.raises(ConfigError, match="this machine has none"):
        place_threads(None, numa_node=0, root=tmp_path / "empty")


@pytest.mark.parametrize(
    ("membership", "mounts", "files"),
    [
        ("0::/\n", V2, {"cgroup/cpu.max": "250000 100000"}),
        ("0::/a/b\n", V2, {"cgroup/a/cpu.max": "250000 100000", "cgroup/a/b/cpu.max": "max 100000", "cgroup/cpu.max": "700000 100000"}),
        ("0::/docker/me\n", V2.replace(" / ", " /docker/me "), {"cgroup/cpu.max": "250000 100000"}),
        ("0::/../x\n", V2, {"cgroup/cpu.max": "250000 100000"}),
        ("1:cpu,cpuacct:/a\n0::/\n", V1_CPU, {"cgroup/cpu/a/cpu.cfs_quota_us": "125000", "cgroup/cpu/a/cpu.cfs_period_us": "50000"}),
        ("1:cpu,cpuacct:/a\n0::/\n", V1_CPU, {"cgroup/cpu/cpu.cfs_quota_us": "250000", "cgroup/cpu/cpu.cfs_period_us": "100000"}),
    ],
    ids=["v2", "v2 nested", "v2 without a namespace", "v2 outside the namespace", "v1", "v1 parent"],
)
def test_a_quota_of_two_and_a_half_processors_is_three_threads(machine: Machine, membership: str, mounts: str, files: dict[str, str]):
    machine.in_group(membership, mounts)
    for path, text in files.items():
        machine.write(f"sys/fs/{path}", text)
    assert num_cores(root=machine.root) == 3
    assert place_threads(None, root=machine.root).num_threads == 3


def test_no_quota_is_no_limit(machine: Machine):
    machine.in_group("1:cpu,cpuacct:/\n0::/\n", V1_CPU + V2.replace("cgroup rw", "cgroup/unified rw"))
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    machine.write("sys/fs/cgroup/unified/cpu.max", "max 100000")
    assert num_cores(root=machine.root) == 8


def test_memory_is_what_the_tightest_limit_leaves_with_droppable_cache(machine: Machine):
    machine.in_group("0::/a/b\n", V2)
    for group, limit, used in (("", "max", 40), ("/a", str(20 * GIB), 9), ("/a/b", str(30 * GIB), 8)):
        machine.write(f"sys/fs/cgroup{group}/memory.max", limit)
        machine.write(f"sys/fs/cgroup{group}/memory.current", str(used * GIB))
    machine.write("sys/fs/cgroup/a/memory.stat", f"anon 5\ninactive_file {GIB}\n")
    assert available_memory_bytes(root=machine.root) == 12 * GIB


def test_memory_limits_of_version_1_count(machine: Machine):
    machine.in_group("4:memory:/a\n", V1_MEMORY)
    for group, limit, used in (("", 2**63 - 4096, 40 * GIB), ("/a", 10 * GIB, 4 * GIB)):
        machine.write(f"sys/fs/cgroup/memory{group}/memory.limit_in_bytes", str(limit))
        machine.write(f"sys/fs/cgroup/memory{group}/memory.usage_in_bytes", str(used))
        machine.write(f"sys/fs/cgroup/memory{group}/memory.stat", f"inactive_file 7\ntotal_inactive_file {GIB}\n")
    assert available_memory_bytes(root=machine.root) == 7 * GIB


# ---- this machine ---------------------------------------------------------------------------------------------------------------


def test_the_pool_is_cut_to_the_cores_with_a_word(caplog):
    with caplog.at_level(logging.WARNING, logger="octavo"):
        pool = build_pool(PlacementConfig(threads=10_000))
    assert pool.num_threads == num_cores()
    assert "--threads is 10000, but this process may use" in caplog.text


def test_pinning_leaves_the_thread_that_builds_the_pool_alone():
    mask = os.sched_getaffinity(0)
    assert build_pool(PlacementConfig(pin_threads=True)).num_threads >= 1
    assert os.sched_getaffinity(0) == mask


def test_settings_that_cannot_be_met_name_their_flag():
    with pytest.raises(ConfigError, match="--numa-node is -1"):
        EngineConfig.of(numa_node=-1)
    with pytest.raises(ConfigError, match="--numa-node is 4000, which does not exist"):
        build_pool(PlacementConfig(numa_node=4000))
    with pytest.raises(ConfigError, match="--executor eager does not use"):
        open_platform(EngineConfig.of(executor="eager", pin_threads=True))
    with pytest.raises(ValueError, match="memory cannot be bound to NUMA node 4000"):
        bind_memory_to_node(4000)


# ---- memory -----------------------------------------------------------------------------------------------------------------------


SHAPE = StepShape(8, 256, 64, 4096, num_blocks=2048, block_size=16)
GEMMA = [CacheGroupBytes(512, 5000), CacheGroupBytes(None, 1000)]


def plain(block_bytes: int) -> list[CacheGroupBytes]:
    return [CacheGroupBytes(None, block_bytes)]


def pools(num_bytes: int, groups: list[CacheGroupBytes] = GEMMA, shape: StepShape = SHAPE) -> list[tuple[int, int | None]]:
    return [tuple(pool) for pool in with_blocks(EngineConfig.of(kv_cache_bytes=num_bytes), shape, groups, 0).block_pools]


def test_the_cache_gets_a_share_of_what_is_left_and_no_more_than_can_be_used():
    gib = 1 << 30
    assert with_blocks(EngineConfig(), SHAPE, plain(gib // 1000), 2 * gib).num_blocks == 700  # 40 % of 1.75 GiB
    assert with_blocks(EngineConfig(), SHAPE, plain(1024), 2 * gib).num_blocks == 2048
    assert with_blocks(EngineConfig.of(kv_cache_bytes=gib), SHAPE, plain(gib // 10), 0).num_blocks == 10


def test_a_windowed_group_gets_what_its_windows_see_and_the_rest_goes_to_the_others():
    local = 8 * (512 // 16 + 3) + 2 * 256 // 16
    assert pools(1 << 30) == [(local, 512), (2048, None)]
    assert pools(local * 5000 + 1234 * 1000) == [(local, 512), (1234, None)]
    assert pools(6000 * 100) == [(100, 512), (100, None)]  # too little for both: nobody is turned away whom equal pools would take


def test_groups_that_see_the_same_tokens_share_a_pool():
    assert pools(6000 * 100, shape=replace(SHAPE, max_model_len=512)) == [(100, None)]
    assert pools(6000 * 100, [CacheGroupBytes(512, 5000), CacheGroupBytes(512, 1000)]) == [(100, 512)]


def test_a_model_that_leaves_no_memory_is_told_with_the_flags():
    with pytest.raises(ConfigError, match="--kv-cache-bytes, lower --max-num-batched-tokens"):
        with_blocks(EngineConfig(), SHAPE, plain(1 << 20), 100 << 20)


@pytest.mark.parametrize("flag", ["max_num_seqs", "max_num_batched_tokens"])
def test_absurd_sizes_name_their_flag(flag: str):
    with pytest.raises(ConfigError, match=f"--{flag.replace('_', '-')} is 100000000; it may be"):
        EngineConfig.of(**{flag: 10**8})


def test_a_step_is_as_large_as_the_device_likes_it_unless_the_configuration_says_otherwise():
    model, platform = (
        SimpleNamespace(max_position_embeddings=512, pooling=None, source_positions=0),
        cpu.Platform(EngineConfig.of(threads=1)),
    )
    shapes = [step_shape(EngineConfig.of(max_num_seqs=wanted), model, platform) for wanted in (None, 3)]
    assert [(shape.max_num_seqs, shape.max_num_tokens) for shape in shapes] == [(64, 256), (3, 256)]


def test_a_device_is_its_own_platform_or_torchs():
    assert [platform_name(EngineConfig.of(device=device)) for device in ("auto", "cpu", "xpu:1")] == ["cpu", "cpu", "torch"]
    assert platform_name(EngineConfig.of(executor="eager")) == "torch"
    with pytest.raises(ConfigError, match="--executor step_program has no kernels for --device xpu"):
        platform_name(EngineConfig.of(device="xpu", executor="step_program"))
