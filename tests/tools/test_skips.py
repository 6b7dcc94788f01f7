"""A skip that the machine does not explain fails a strict run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.mark.parametrize(
    ("reason", "code", "said"),
    [
        ("no curl here", 0, "skipped    1: no curl here\n"),
        ("I did not feel like it", 1, "skipped    1: I did not feel like it   <- this machine could have run it"),
        ("OCTAVO_TEST_GEMMA3 does not name the file", 1, "<- this machine could have run it"),
    ],
)
def test_skips_are_counted_and_have_to_be_explained(tmp_path: Path, reason: str, code: int, said: str) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_it.py").write_text(f"import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip({reason!r})\n")
    environment = {**os.environ, "OCTAVO_TEST_STRICT": "1", "OCTAVO_TEST_GEMMA3": "x"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout
