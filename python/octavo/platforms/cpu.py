"""The processor: cores and memory that this process may really use, container limits respected."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_memory_bytes", "num_cores"]

_CGROUP = Path("/sys/fs/cgroup")


def num_cores() -> int:
    """Cores this process may use: its affinity mask, cut to the container's CPU quota (cgroup v2 `cpu.max`), at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def available_memory_bytes() -> int:
    """Bytes that can be taken without swapping: the kernel's MemAvailable, cut to what the container's limit leaves."""
    available = _meminfo("MemAvailable")
    limit, used = _read(_CGROUP / "memory.max").strip(), _read(_CGROUP / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        available = min(available, max(0, int(limit) - int(used)))
    return available


def _meminfo(key: str) -> int:
    for line in _read(Path("/proc/meminfo")).splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not Linux, or no such controller: no limit known
        return ""
