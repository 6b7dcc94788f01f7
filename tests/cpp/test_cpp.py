"""The C++ unit tests, one pytest test per GoogleTest suite. tools/test builds them and names the program in OCTAVO_CPP_TESTS."""

from __future__ import annotations

import os
import subprocess

import pytest

PROGRAM = os.environ.get("OCTAVO_CPP_TESTS")
SANITIZED = os.environ.get("OCTAVO_CPP_SANITIZED")


def suites() -> list[str]:
    if PROGRAM is None:
        return []
    listed = subprocess.run([PROGRAM, "--gtest_list_tests"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines() if line and not line.startswith((" ", "Running"))]


@pytest.mark.skipif(PROGRAM is None, reason="OCTAVO_CPP_TESTS names no program; tools/test builds one where GoogleTest is installed")
@pytest.mark.parametrize("suite", suites())
def test_suite(suite: str):
    done = subprocess.run([str(PROGRAM), f"--gtest_filter={suite}*", "--gtest_brief=1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(SANITIZED is None, reason="OCTAVO_CPP_SANITIZED names no program; tools/test --all builds one")
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_suite_under_address_and_undefined_behavior_sanitizers():
    environment = {**os.environ, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    done = subprocess.run([str(SANITIZED), "--gtest_brief=1"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
