"""The linter has nothing to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_ruff_is_content():
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run([ruff, "check", "--no-cache", "--output-format=concise"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
