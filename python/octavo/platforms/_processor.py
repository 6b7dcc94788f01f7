"""The processor: cores and memory that this process may really use, container limits respected, and which thread runs where."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from octavo.errors import ConfigError
from octavo.platforms._cgroup import cpu_quota, memory_left_bytes, read
from octavo.platforms._topology import node_free_bytes, node_processors, numa_nodes, physical_first

__all__ = ["ThreadPlacement", "available_memory_bytes", "num_cores", "place_threads"]

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class ThreadPlacement:
    """How many compute threads there are, and where each may run.

    Attributes:
        num_threads: at least 1, at most what the affinity mask, the container's limit and the NUMA node allow.
        affinity: the processors of each thread, that of the pool's caller first; empty: wherever the system puts them.
    """

    num_threads: int
    affinity: tuple[tuple[int, ...], ...] = ()


def num_cores(numa_node: int | None = None, root: Path = _ROOT) -> int:
    """Most compute threads that make sense: the affinity mask (of that NUMA node), cut to the container's CPU quota, at least 1."""
    return _within_quota(len(_processors(numa_node, root)), root)


def place_threads(wanted: int | None, pin: bool = False, numa_node: int | None = None, root: Path = _ROOT) -> ThreadPlacement:
    """Decide how many compute threads run, and where.

    By default one for each core: a second thread on a core (hyperthreading) shares the vector units that the first keeps busy.

    Args:
        wanted: how many threads; more than `num_cores` are cut to that. None: one for each core.
        pin: each thread on a processor of its own, cores before hyperthreads.
        numa_node: only processors of this node.

    Raises:
        ConfigError: the node does not exist, or this process may use no processor of it.
    """
    processors, cores = physical_first(_processors(numa_node, root), root)
    num_threads = min(wanted, num_cores(numa_node, root)) if wanted else _within_quota(cores, root)
    if pin:
        return ThreadPlacement(num_threads, tuple((processor,) for processor in processors[:num_threads]))
    return ThreadPlacement(num_threads, (tuple(sorted(processors)),) * num_threads if numa_node is not None else ())


def available_memory_bytes(numa_node: int | None = None, root: Path = _ROOT) -> int:
    """Bytes that can be taken without swapping: the kernel's MemAvailable, cut to what the container's limit and the node leave."""
    limits = [_meminfo("MemAvailable", root), memory_left_bytes(root)]
    if numa_node is not None:
        limits.append(node_free_bytes(numa_node, root))
    return min(limit for limit in limits if limit is not None)


def _processors(numa_node: int | None, root: Path) -> set[int]:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    if numa_node is None:
        return usable
    nodes = numa_nodes(root)
    if numa_node not in nodes:
        raise ConfigError(f"--numa-node is {numa_node}, which does not exist; this machine has {', '.join(map(str, nodes)) or 'none'}")
    on_node = usable & set(node_processors(numa_node, root))
    if not on_node:
        raise ConfigError(f"--numa-node is {numa_node}, but this process may use no processor of it (see its affinity mask)")
    return on_node


def _within_quota(count: int, root: Path) -> int:
    return max(1, min(count, math.ceil(cpu_quota(root) or count)))


def _meminfo(key: str, root: Path) -> int:
    for line in read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
