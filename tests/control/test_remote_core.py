"""The front of an engine over a socket: what a core in this process does, one behind a wire does; a front that goes ends its own only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from octavo.assemble import _synthetic_tokenizer
from octavo.engine import AsyncEngine, ModelInfo
from octavo.engine.core_hub import CoreHub
from octavo.engine.remote_core import RemoteCore
from octavo.engine.synthetic_core import SyntheticCore, SyntheticModel
from octavo.errors import EngineDeadError, InvalidRequestError, QueueFullError
from octavo.types import Delta, FinishReason, GenerationRequest, SamplingParams

INFO = ModelInfo("synthetic", "synthetic:", 32768, 300, 0)
Connect = Callable[[str], Awaitable[AsyncEngine]]


def request(name: str, prompt: list[int] | None = None, **params: object) -> GenerationRequest:
    return GenerationRequest(name, prompt or [1, 2, 3], SamplingParams(**params))


async def read(engine: AsyncEngine, asked: GenerationRequest) -> list[Delta]:
    async with await engine.submit(asked) as stream:
        return [delta async for delta in stream]


@pytest.fixture
async def hub() -> AsyncIterator[CoreHub]:
    hub = CoreHub(SyntheticCore(SyntheticModel(tokens_per_s=1000), max_running=4, max_waiting=64))
    await hub.start()
    yield hub
    await hub.close()


@pytest.fixture
async def connect(hub: CoreHub) -> AsyncIterator[Connect]:
    engines: list[AsyncEngine] = []

    async def make(name: str) -> AsyncEngine:
        ours, theirs = socket.socketpair()
        greeted = await hub.connect(name, ours)
        engine = AsyncEngine(RemoteCore(theirs, hub.state), _synthetic_tokenizer(), INFO, name=name)
        await engine.start()
        await asyncio.wait_for(greeted.wait(), 10)
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        await engine.close()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


async def test_two_fronts_have_their_own_tokens_and_no_others(connect: Connect):
    first, second = await connect("a"), await connect("b")
    asked = [(engine, request(f"r{index}", max_tokens=20, n=2)) for index in range(5) for engine in (first, second)]
    for deltas in await asyncio.gather(*(read(*each) for each in asked)):
        for choice in range(2):
            own = [delta for delta in deltas if delta.index == choice]
            assert sum(len(delta.token_ids) for delta in own) == 20 and own[-1].finish_reason is FinishReason.LENGTH
    assert first.stats().generation_tokens == second.stats().generation_tokens == 200


async def test_an_abort_reaches_the_core_also_right_behind_its_request(hub: CoreHub, connect: Connect):
    engine = await connect("a")
    (await engine.submit(request("a", max_tokens=30_000))).abort()
    asking = asyncio.create_task(engine.submit(request("b", max_tokens=30_000)))
    await asyncio.sleep(0)
    asking.cancel()
    await until(lambda: hub.state.stats.num_running == hub.state.stats.num_waiting == 0)
    assert engine.core._open == {} and await engine.kv_blocks() == []


async def test_refusals_come_over_the_wire_as_they_are(connect: Connect):
    engine = await connect("a")
    with pytest.raises(InvalidRequestError) as refused:
        await engine.submit(request("a", n=5))
    assert refused.value.param == "n"
    streams = [await engine.submit(request(f"r{index}", max_tokens=30_000, n=4)) for index in range(17)]
    with pytest.raises(QueueFullError, match="wait already"):
        await engine.submit(request("b"))
    for stream in streams:
        stream.abort()


async def test_a_prompt_of_megabytes_goes_through(connect: Connect):
    deltas = await read(await connect("a"), request("a", prompt=[7] * 30_000, max_tokens=2))
    assert deltas[-1].finish_reason is FinishReason.LENGTH


async def test_a_front_that_goes_ends_its_own_requests_only(hub: CoreHub, connect: Connect):
    first, second = await connect("a"), await connect("b")
    for index in range(3):
        await first.submit(request(f"r{index}", max_tokens=30_000))
    reading = asyncio.create_task(read(second, request("s", max_tokens=300)))
    await until(lambda: hub.state.stats.num_running == 4)
    first.core._wire._transport.abort()  # as the kernel does for a process that was killed
    await until(lambda: hub.state.stats.num_running <= 1)
    assert (await reading)[-1].finish_reason is FinishReason.LENGTH


async def test_a_core_that_goes_ends_every_choice_with_an_error(hub: CoreHub, connect: Connect):
    engine = await connect("a")
    stream = await engine.submit(request("a", max_tokens=30_000, n=2))
    await anext(stream)
    await hub.close()
    ends = [delta.finish_reason async for delta in stream if delta.finish_reason is not None]
    assert ends == [FinishReason.ERROR] * 2
    assert "has ended" in await asyncio.wait_for(engine.wait_dead(), 10) and engine.died
    with pytest.raises(EngineDeadError, match="has ended"):
        await engine.submit(request("b"))
