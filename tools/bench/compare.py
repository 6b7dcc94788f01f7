#!/usr/bin/env python3
"""Compare two outputs of octavo-bench: python tools/bench/compare.py BEFORE.json AFTER.json [--threshold PERCENT] [--filter REGEX]

The files are Google Benchmark's JSON (`octavo-bench --benchmark_out=FILE`); where an op has repetitions, their median counts.
Prints op, time before, time after and their ratio; warns when the machines or their ceilings differ. Exits with 1 when an op has
become slower by more than the threshold, with 2 when a file cannot be read.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

_UNITS_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
_SAME = ("octavo_isa", "threads", "num_cpus", "host_name")
_CEILING = "ceiling "
_CEILING_TOLERANCE = 0.1


class UnreadableError(Exception):
    """A file is not the output of a benchmark run."""


def read(path: str) -> dict[str, Any]:
    """Return the parsed output. Raises `UnreadableError`, with the file and the remedy."""
    try:
        output = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{path}: {error}; write it with octavo-bench --benchmark_out={path}") from error
    if not isinstance(output, dict) or not {"context", "benchmarks"} <= output.keys():
        raise UnreadableError(f"{path}: not an output of octavo-bench; write it with octavo-bench --benchmark_out={path}")
    return output


def times_ns(output: dict[str, Any]) -> dict[str, float]:
    """Return the real time of one iteration of each op, in order of the file: the median of its repetitions. Failed ops are left out."""
    repetitions: dict[str, list[float]] = {}
    medians: dict[str, float] = {}
    for entry in output["benchmarks"]:
        if entry.get("error_occurred"):
            continue
        name, kind = entry.get("run_name", entry["name"]), entry.get("run_type", "iteration")
        if kind == "iteration":
            repetitions.setdefault(name, []).append(entry["real_time"] * _UNITS_NS[entry["time_unit"]])
        elif entry.get("aggregate_name") == "median":
            medians[name] = entry["real_time"] * _UNITS_NS[entry["time_unit"]]
    return {**medians, **{name: statistics.median(times) for name, times in repetitions.items()}}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what makes the two runs hard to compare, one sentence each."""
    old, new = before["context"], after["context"]
    found = [f"{key} was {old.get(key)}, is {new.get(key)}" for key in _SAME if old.get(key) != new.get(key)]
    for key in sorted(key for key in old.keys() | new.keys() if key.startswith(_CEILING)):
        if key not in old or key not in new:
            found.append(f"{key} was measured in one run only")
        elif abs(float(new[key]) / float(old[key]) - 1) > _CEILING_TOLERANCE:
            found.append(f"{key} was {old[key]}, is {new[key]}")
    return found


def show(before: dict[str, float], after: dict[str, float], threshold: float) -> list[str]:
    """Print the table; return the ops that are slower by more than `threshold` percent."""
    slower = []
    width = max(map(len, before.keys() | after.keys()), default=2)
    print(f"{'op':<{width}}  {'before':>10}  {'after':>10}  after / before")
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in before or name not in after:
            print(f"{name:<{width}}  {_time(before.get(name)):>10}  {_time(after.get(name)):>10}")
            continue
        ratio = after[name] / before[name]
        if ratio > 1 + threshold / 100:
            slower.append(name)
        print(f"{name:<{width}}  {_time(before[name]):>10}  {_time(after[name]):>10}  {ratio:.2f}{'  slower' if name in slower else ''}")
    return slower


def _time(nanoseconds: float | None) -> str:
    if nanoseconds is None:
        return "-"
    unit = next((unit for unit in ("s", "ms", "us") if nanoseconds >= _UNITS_NS[unit]), "ns")
    return f"{nanoseconds / _UNITS_NS[unit]:.4g} {unit}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--threshold", type=float, default=10.0, metavar="PERCENT", help="slower by more is a failure (default: 10)")
    parser.add_argument("--filter", default="", metavar="REGEX", help="ops whose name matches; default: all")
    args = parser.parse_args(arguments)
    try:
        before, after = read(args.before), read(args.after)
    except UnreadableError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    for difference in differences(before, after):
        print(f"warning: {difference}", file=sys.stderr)
    old, new = ({name: time for name, time in times_ns(output).items() if re.search(args.filter, name)} for output in (before, after))
    if not old.keys() & new.keys():
        print("compare: the files have no op in common", file=sys.stderr)
        return 2
    slower = show(old, new, args.threshold)
    if slower:
        print(f"{len(slower)} of {len(old.keys() & new.keys())} ops are slower by more than {args.threshold:g} %")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
