"""Marks that follow from what a test uses, and an account of skips.

A skip says that this machine lacks something. `EXPLAINED` knows how to tell; a skip that it does not explain, or whose thing is there
after all, fails the run where OCTAVO_TEST_STRICT is set, as tools/test does: a test that could have run must not be lost in a count.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

GPU = Path("/proc/driver/nvidia/version")

# What a skip's reason matches -> whether the thing is absent indeed.
EXPLAINED: dict[str, Callable[[], bool]] = {
    r"OCTAVO_CPP_TESTS names no program": lambda: "OCTAVO_CPP_TESTS" not in os.environ,
    r"OCTAVO_CPP_BENCH names no program": lambda: "OCTAVO_CPP_BENCH" not in os.environ,
    r"OCTAVO_CPP_SANITIZED names no program": lambda: "OCTAVO_CPP_SANITIZED" not in os.environ,
    r"OCTAVO_TEST_GEMMA3 does not name": lambda: "OCTAVO_TEST_GEMMA3" not in os.environ,
    r"OCTAVO_TEST_CROSS=1 runs it": lambda: os.environ.get("OCTAVO_TEST_CROSS") != "1",
    r"OCTAVO_TEST_ALL=1 runs it": lambda: os.environ.get("OCTAVO_TEST_ALL") != "1",
    r"apt-get install .*qemu|cross compiler": lambda: not all(map(shutil.which, ("aarch64-linux-gnu-g++", "qemu-aarch64"))),
    r"no (curl|node|cmake) here": lambda: True,  # the reason is the result of looking for it
    r"tools/clients has not installed": lambda: True,  # the reason is the result of looking for it
    r"no /proc here": lambda: not Path("/proc").exists(),
    r"no NVIDIA GPU here": lambda: not GPU.exists(),
    r"^no GPU: |built without -DOCTAVO_CUDA": lambda: True,  # the reason is what the library's own look for a GPU or for itself found
    r"^no .*(instruction set|AVX|AMX)": lambda: True,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"smollm2", "minilm"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real_model)
        if item.get_closest_marker("gpu") and not GPU.exists():
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skips = _skips(terminalreporter)
    for reason, number in skips.most_common():
        note = "" if _is_explained(reason) else "   <- this machine could have run it, or tests/conftest.py does not know the reason"
        terminalreporter.write_line(f"skipped {number:4}: {reason.splitlines()[0][:120]}{note}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "OCTAVO_TEST_STRICT" in os.environ and reporter and not all(map(_is_explained, _skips(reporter))):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skips(reporter: pytest.TerminalReporter) -> Counter[str]:
    """Reason -> number of tests."""
    return Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in reporter.stats.get("skipped", ()) if isinstance(report.longrepr, tuple)
    )


def _is_explained(reason: str) -> bool:
    return any(re.search(pattern, reason) and absent() for pattern, absent in EXPLAINED.items())
