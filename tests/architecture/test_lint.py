"""Linter and formatters have nothing to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CPP_FILES = [str(path.relative_to(ROOT)) for suffix in ("h", "cc") for path in sorted((ROOT / "cpp").rglob(f"*.{suffix}"))]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", "--output-format=concise"],
        ["ruff", "format", "--no-cache", "--check"],
        ["clang-format", "--dry-run", "--Werror", *CPP_FILES],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_nothing_to_say(command: list[str]):
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
