"""What tools/check runs over the source and tests/architecture runs too."""

from __future__ import annotations

import subprocess
from pathlib import Path

from environment import ROOT

__all__ = ["passes", "source_checks"]


def source_checks(*, fix: bool = False) -> dict[str, list[str]]:
    """Commands by what they look at; with `fix`, those that can mend what they find do."""
    cpp_files = [str(path.relative_to(ROOT)) for suffix in ("h", "cc") for path in sorted((ROOT / "cpp").rglob(f"*.{suffix}"))]
    return {
        "lint": ["ruff", "check", *(["--fix"] if fix else [])],
        "format of Python": ["ruff", "format", *([] if fix else ["--check"])],
        "format of C++": ["clang-format", *(["-i"] if fix else ["--dry-run", "--Werror"]), *cpp_files],
        "import layers": ["lint-imports"],
        "types": ["mypy"],
    }


def passes(command: list[str], programs: Path) -> bool:
    """Run a command of `source_checks`, whose program lies in the folder `programs`; its findings are printed."""
    program, *arguments = command
    return subprocess.run([str(programs / program), *arguments], cwd=ROOT, check=False).returncode == 0
