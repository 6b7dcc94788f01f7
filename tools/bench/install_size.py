#!/usr/bin/env python3
"""What a base install takes on disk: python tools/bench/install_size.py WHEEL [--most 160]

Installs a wheel (`tools/wheels`, or `pip wheel --no-deps .`) with the base dependencies of pyproject.toml into an empty folder, bytecode
included, and prints what the largest packages take. Exits 1 where the sum of the file sizes exceeds `--most` MB (10^6 bytes).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOWN = 12


def base_dependencies() -> list[str]:
    """The requirements of [project] dependencies."""
    found = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return re.findall(r'^\s*"([^"]+)"', found[1], re.MULTILINE)


def sizes(folder: Path) -> Counter[str]:
    """Top-level name -> bytes of its files."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[path.relative_to(folder).parts[0]] += path.stat().st_size
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", help="Octavo's wheel")
    parser.add_argument("--most", type=float, default=160.0, help="MB that it may take (default: 160)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, options.wheel, *base_dependencies()]
        subprocess.run(command, check=True)
        found = sizes(Path(folder))
    for name, size in found.most_common(SHOWN):
        print(f"{size / 1e6:8.1f} MB  {name}")
    total = found.total() / 1e6
    print(f"{total:8.1f} MB  all of {len(found)} entries (at most {options.most:.0f})")
    sys.exit(total > options.most)


if __name__ == "__main__":
    main()
