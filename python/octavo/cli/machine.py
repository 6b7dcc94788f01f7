"""Names for this machine."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["processor_name"]

_CPUINFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """Return the processor's name, or its architecture where the system does not tell."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.machine())
