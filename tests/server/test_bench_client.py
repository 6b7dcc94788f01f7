"""The benchmark client counts tokens however the network cuts the stream."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from octavo.cli.bench.http_client import http_sender, open_session
from octavo.cli.bench.timeline import Timeline
from octavo.cli.bench.workload import BenchRequest

EVENTS = [{"choices": [{"text": "é", "token_ids": [5]}]}, {"choices": [{"text": "bc", "token_ids": [6, 7]}]}]
USAGE = {"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}}


async def timeline_of(*pieces: bytes) -> Timeline:
    """What the client makes of a stream that arrives in these pieces, 20 ms apart."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.02)
        return response

    app = web.Application()
    app.router.add_post("/v1/completions", stream)
    async with TestServer(app) as server, open_session(str(server.make_url("/")), None) as session:
        return await http_sender(session, "m")(BenchRequest([1, 2, 3], 3))


def body(*events: dict) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


async def test_an_event_counts_when_its_last_byte_is_there():
    whole = body(*EVENTS, USAGE)
    second = whole.index(b"bc")
    timeline = await timeline_of(whole[:15], whole[15:second], whole[second : second + 40], whole[second + 40 :])
    assert timeline.error is None
    assert [count for _, count in timeline.arrivals] == [1, 2]
    assert timeline.arrivals[1][0] - timeline.arrivals[0][0] > 0.01
    assert timeline.num_cached_tokens == 2


async def test_events_that_come_together_have_one_time():
    timeline = await timeline_of(body(*EVENTS, USAGE))
    assert len({time for time, _ in timeline.arrivals}) == 1


async def test_without_token_ids_the_usage_puts_the_count_right():
    events = [{"choices": [{"text": text}]} for text in ("a", "bc")]
    timeline = await timeline_of(body(*events, USAGE))
    assert [count for _, count in timeline.arrivals] == [1, 2]


async def test_an_error_in_the_stream_is_the_requests_error():
    timeline = await timeline_of(body(EVENTS[0], {"error": {"message": "no memory"}}))
    assert timeline.error == "no memory"
    assert timeline.num_output_tokens == 1
