"""What tools/check looks at is in order: lint, formats, import layers, types."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from source_checks import passes, source_checks


@pytest.mark.parametrize("name", source_checks())
def test_nothing_is_found(name: str):
    assert passes(source_checks()[name], Path(sys.executable).parent), "its findings are above; tools/check --fix mends what it can"
