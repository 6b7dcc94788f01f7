"""The C++ core (cache, batch, text, thread pool) under sanitizers: tools/sanitize, as a developer runs it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif("OCTAVO_CPP_TESTS" not in os.environ, reason="OCTAVO_CPP_TESTS names no program; so GoogleTest may be missing")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_the_core_under(sanitizer: str):
    done = subprocess.run([ROOT / "tools" / "sanitize", sanitizer], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
