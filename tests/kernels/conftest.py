from __future__ import annotations

from collections.abc import Iterator

import pytest

from octavo import _kernels


@pytest.fixture(params=_kernels.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs once for each instruction set of this processor."""
    before = _kernels.active_isa()
    _kernels.set_isa(request.param)
    yield request.param
    _kernels.set_isa(before)


@pytest.fixture
def pool() -> _kernels.ThreadPool:
    return _kernels.ThreadPool(2)
