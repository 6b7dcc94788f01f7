"""Limits of the container: control groups of Linux, versions 1 and 2 (cgroups(7), kernel documentation admin-guide/cgroup-v2).

A limit may sit on the process's own group or on any group above it, so every folder from the one that /proc/self/cgroup names up
to the mount point is read, and the tightest limit counts. In a container the mount may begin inside the hierarchy; then the part of
the path above its root is not visible.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["cpu_quota", "memory_left_bytes"]


def cpu_quota(root: Path) -> float | None:
    """Processors' worth of time that the limits leave (v2 `cpu.max`, v1 `cpu.cfs_quota_us`), or None without a limit.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    quotas = [_quota_v2(folder) for folder in _folders(root, "")] + [_quota_v1(folder) for folder in _folders(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_left_bytes(root: Path) -> int | None:
    """Bytes that can still be taken before a limit is reached, or None without a limit. Page cache that can be dropped is free."""
    left = [_memory_left(folder, "memory.max", "memory.current", "inactive_file") for folder in _folders(root, "")]
    names_v1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    left += [_memory_left(folder, *names_v1) for folder in _folders(root, "memory")]
    return min((size for size in left if size is not None), default=None)


def _quota_v2(folder: Path) -> float | None:
    quota, _, period = read(folder / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None  # no limit: -1


def _memory_left(folder: Path, limit_name: str, used_name: str, cache_name: str) -> int | None:
    limit, used = read(folder / limit_name), read(folder / used_name)
    if not limit.isdigit() or not used.isdigit():
        return None
    entries = (line.split() for line in read(folder / "memory.stat").splitlines())
    droppable = next((int(size) for name, size in entries if name == cache_name), 0)
    return max(0, int(limit) - int(used) + droppable)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The process's group of a v1 controller (v2: ""), then every group above it that is mounted here."""
    path, mount = _own_group(root, controller), _mount(root, controller)
    if path is None or mount is None:
        return
    mount_root, mount_point = mount
    inside = path.relative_to(mount_root) if path.is_relative_to(mount_root) and ".." not in path.parts else PurePosixPath()
    top = root / mount_point.relative_to("/")
    yield top / inside
    yield from (top / above for above in inside.parents)


def _own_group(root: Path, controller: str) -> PurePosixPath | None:
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return PurePosixPath(path)
    return None


def _mount(root: Path, controller: str) -> tuple[PurePosixPath, PurePosixPath] | None:
    """Which group is mounted, and where: fields 4 and 5 of /proc/self/mountinfo; after the dash come type, source and options."""
    for line in read(root / "proc/self/mountinfo").splitlines():
        fields, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ", 2)
        if (kind == "cgroup" and controller in options.split(",")) if controller else kind == "cgroup2":
            mount_root, mount_point = fields.split()[3:5]
            return PurePosixPath(mount_root), PurePosixPath(mount_point)
    return None


def read(path: Path) -> str:
    """The file's text without white space around it; empty where there is none (not Linux, or no such controller: no limit known)."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
