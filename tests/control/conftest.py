"""A started engine per test, closed after it with nothing left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from fakes.fake_engine import fake_engine
from octavo.engine import AsyncEngine


@pytest.fixture
async def start_engine() -> AsyncIterator[Callable[..., AsyncEngine]]:
    """Call it as `fake_engine`, awaited: the engine is running."""
    engines: list[AsyncEngine] = []

    async def start(*args: object, **options: object) -> AsyncEngine:
        engine = fake_engine(*args, **options)
        await engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        await engine.close()
        if engine.dead == "the engine is shutting down":
            scheduler = engine.core.engine_core.scheduler
            assert not scheduler.has_work, "the engine was closed with work left"
            scheduler.check_integrity()
