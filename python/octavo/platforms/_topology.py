"""How processors, cores and memory are laid out, as Linux tells in /sys/devices/system (kernel documentation, admin-guide/cputopology).

A processor here is what the system schedules on; with hyperthreading a core has several. `root` holds `proc` and `sys`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from octavo.platforms._cgroup import read

__all__ = ["node_free_bytes", "node_processors", "numa_nodes", "parse_list", "physical_first"]

_SYSTEM = Path("sys/devices/system")


def physical_first(processors: Collection[int], root: Path) -> tuple[list[int], int]:
    """Order processors so that each core comes once before any comes twice.

    Returns:
        The processors in that order, and how many cores they belong to.
    """
    seen: dict[int, int] = {}  # a core, named by its first processor -> how many of it came before
    ranks = {}
    for processor in sorted(processors):
        siblings = parse_list(read(root / _SYSTEM / f"cpu/cpu{processor}/topology/thread_siblings_list"))
        core = min(siblings, default=processor)
        ranks[processor] = seen[core] = seen.get(core, -1) + 1
    return sorted(ranks, key=lambda processor: (ranks[processor], processor)), len(seen)


def numa_nodes(root: Path) -> list[int]:
    """The numbers of the machine's NUMA nodes; empty where the system knows none."""
    return parse_list(read(root / _SYSTEM / "node/online"))


def node_processors(node: int, root: Path) -> list[int]:
    """The processors of a NUMA node."""
    return parse_list(read(root / _SYSTEM / f"node/node{node}/cpulist"))


def node_free_bytes(node: int, root: Path) -> int:
    """Bytes of a node's memory that can be taken: free, or page cache that has not been used for a while."""
    lines = (line.split() for line in read(root / _SYSTEM / f"node/node{node}/meminfo").splitlines())
    return sum(int(fields[3]) * 1024 for fields in lines if fields[2] in ("MemFree:", "Inactive(file):"))


def parse_list(text: str) -> list[int]:
    """The numbers that "0-2,8" stands for."""
    numbers: list[int] = []
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
