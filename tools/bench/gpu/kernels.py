"""What the GPU does, kernel by kernel: a tracer of NVIDIA's activity records, through an installed torch (a tool's, not the engine's)."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["trace"]


def trace(run: Callable[[], Any], most_rows: int = 24) -> dict[str, Any]:
    """Run under the tracer. Raises `ImportError` without torch.

    Returns:
        `seconds` from the first to the last activity, `busy` as the share of it in which something ran, and `kernels`: the longest by
        total time, each (name, calls, total ms, mean us).
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as tracer:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        tracer.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    spans = [(event["ts"], event["dur"], event["name"]) for event in events if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    return _table(sorted(spans), most_rows)


def _table(spans: list[tuple[float, float, str]], most_rows: int) -> dict[str, Any]:
    totals: dict[str, list[float]] = defaultdict(list)
    busy, end = 0.0, spans[0][0] if spans else 0.0
    for start, duration, name in spans:
        totals[_short(name)].append(duration)
        busy += max(0.0, start + duration - max(start, end))
        end = max(end, start + duration)
    whole = max(end - spans[0][0], 1e-9) if spans else 1e-9
    rows = sorted(totals.items(), key=lambda entry: -sum(entry[1]))[:most_rows]
    return {
        "seconds": round(whole / 1e6, 4),
        "busy": round(busy / whole, 4),
        "kernels": [[name, len(times), round(sum(times) / 1e3, 3), round(sum(times) / len(times), 2)] for name, times in rows],
    }


def _short(name: str) -> str:
    """A kernel's name without its namespaces, and no more of its template arguments than tell it from others."""
    return re.sub(r"\b\w+::", "", name.replace("(anonymous namespace)::", "").removeprefix("void "))[:72]
