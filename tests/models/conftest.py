from __future__ import annotations

import os
from pathlib import Path

import pytest

from octavo.fetch.default_model import default_model_path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The default model, fetched on first use."""
    return default_model_path()


@pytest.fixture(scope="session")
def gemma3() -> Path:
    """Gemma 3 270M, for those who fetched it with tools/fetch_gemma3.py and name it in OCTAVO_TEST_GEMMA3 (its licence is its own)."""
    path = os.environ.get("OCTAVO_TEST_GEMMA3")
    if not path:
        pytest.skip("OCTAVO_TEST_GEMMA3 does not name the file that tools/fetch_gemma3.py makes")
    return Path(path)
