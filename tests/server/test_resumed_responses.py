"""Streams of the Responses API that break and are taken up again, and the log that they are read from."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.running_server import Server, StartServer
from fakes.scripted_engine import ScriptedEngine, endless_script, words_script
from octavo.server.edge.errors import ApiError
from octavo.server.edge.reply import Event
from octavo.server.responses.event_log import EventLog

TEXT = " ".join(f"w{index}" for index in range(40))
BODY = {"input": "hi", "stream": True}


async def read(response: object, most: int | None = None) -> list[dict]:
    """Return the events of a stream, at most `most` of them."""
    events: list[dict] = []
    async for line in response.content:
        if line.startswith(b"data: "):
            events.append(json.loads(line[6:]))
            if len(events) == most:
                break
    return events


async def cut_after(server: Server, num_events: int, **fields: object) -> list[dict]:
    """Start a stream and cut its connection after some events."""
    async with server.http.post("/v1/responses", json=BODY | fields) as response:
        events = await read(response, num_events)
        response.connection.transport.abort()
    return events


async def resume(server: Server, response_id: str, after: int, most: int | None = None) -> list[dict]:
    path = f"/v1/responses/{response_id}?stream=true&starting_after={after}"
    async with server.http.get(path) as response:
        assert response.status == 200, await response.text()
        return await read(response, most)


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("interval_s", [0.0, 0.002])
async def test_wherever_a_stream_is_cut_its_parts_are_the_whole(start_server: StartServer, interval_s: float, store: bool) -> None:
    server = await start_server(ScriptedEngine(script=words_script(TEXT, interval_s)))
    for num_events in (1, 2, 5, 23, 44):
        events = await cut_after(server, num_events, store=store)
        response_id = events[0]["response"]["id"]
        events += await resume(server, response_id, events[-1]["sequence_number"], most=3)
        events += await resume(server, response_id, events[-1]["sequence_number"])
        assert events == await resume(server, response_id, -1)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == TEXT
        assert events[-1]["type"] == "response.completed"
    assert not server.engine.aborted


async def until_idle(server: Server) -> None:
    for _ in range(100):
        if not server.engine.num_live:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("a generation goes on")


async def test_nobody_comes_back(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01, "x")), resume_s=0.1)
    events = await cut_after(server, 4)
    await until_idle(server)
    assert len(server.engine.aborted) == 1
    rest = await resume(server, events[0]["response"]["id"], 3)
    assert (rest[-1]["type"], rest[-1]["response"]["status"]) == ("response.incomplete", "cancelled")


async def test_who_comes_back_in_time_keeps_it_alive(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01, "x")), resume_s=0.3)
    response_id = (await cut_after(server, 4))[0]["response"]["id"]
    for _ in range(3):
        await asyncio.sleep(0.15)
        await resume(server, response_id, -1, most=1)
    assert server.engine.num_live == 1
    async with server.http.delete(f"/v1/responses/{response_id}") as deleted:
        assert deleted.status == 200
    await until_idle(server)


async def test_a_whole_response_ends_with_its_client(start_server: StartServer) -> None:
    server = await start_server(ScriptedEngine(script=endless_script(0.01)))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(server.http.post("/v1/responses", json={"input": "hi"}), 0.2)
    await until_idle(server)


@pytest.mark.parametrize("after", ["x", "-2", "1.5"])
async def test_a_number_that_is_none_is_named(server: Server, after: str) -> None:
    _, document = await server.post("/v1/responses", {"input": "hi"})
    async with server.http.get(f"/v1/responses/{document['id']}?stream=true&starting_after={after}") as response:
        assert (response.status, (await response.json())["error"]["param"]) == (400, "starting_after")


def event(number: int, size: int = 10) -> Event:
    return Event(b"%d" % number + b"." * (size - len(str(number))))


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(10, 200))
def test_a_log_is_bounded_in_bytes_and_keeps_the_newest(sizes: list[int], max_bytes: int) -> None:
    log = EventLog(max_bytes)
    events = [Event(b"x" * size) for size in sizes]
    for one in events:
        log.append([one])
        assert log.num_bytes <= max(max_bytes, len(one.data))
    assert log.read(log.first) == events[log.first :]
    assert log.end == len(events)
    if log.first:
        with pytest.raises(ApiError, match="no longer kept"):
            log.read(log.first - 1)


def test_a_log_forgets_with_time() -> None:
    now = 0.0
    log = EventLog(max_age_s=10.0, clock=lambda: now)
    for number in range(3000):
        log.append([event(number)])
        now += 0.01
    assert (log.end, log.end - log.first) == (3000, 1000)
    assert log.read(2999) == [event(2999)]
    log.close()
    now += 100.0
    log.trim()
    assert log.num_bytes == 0
    with pytest.raises(ApiError, match="events 0 to 2999"):
        log.read(0)
