"""The C++ unit tests under qemu, as other processors: tools/cross_test. Takes minutes, so only where OCTAVO_TEST_CROSS=1 asks for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CROSS_TEST = Path(__file__).parents[2] / "tools" / "cross_test"
MISSING_PACKAGES = 77  # exit status


@pytest.mark.skipif(os.environ.get("OCTAVO_TEST_CROSS") != "1", reason="takes minutes; OCTAVO_TEST_CROSS=1 runs it")
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("processor", ["aarch64", "powerpc64le"])
def test_cpp_tests_pass_on(processor: str):
    done = subprocess.run([str(CROSS_TEST), processor], capture_output=True, text=True, check=False)
    if done.returncode == MISSING_PACKAGES:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
