"""An API's shape decides how its events are framed: names, an opening, a last word or none, errors."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
from aiohttp import web

from fakes.scripted_engine import ScriptedEngine, deltas_script
from octavo.config import ServerConfig
from octavo.server.app import build_app
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.errors import ApiError
from octavo.server.edge.generation import Generation
from octavo.server.edge.reply import Event, Reply, respond
from octavo.server.listen import listen
from octavo.server.serve import make_runner, start_site
from octavo.types import Delta, FinishReason, GenerationRequest, SamplingParams


class NamedEvents:
    """An API like Anthropic's: events have names, and the stream ends without a word."""

    last_word = None

    def opening(self) -> Sequence[Event]:
        return [Event(b'{"input":3}', "start")]

    def events(self, prompt_index: int, delta: Delta) -> Sequence[Event]:
        return [Event(b'{"text":"%b"}' % delta.text.encode(), "delta")] if delta.text else ()

    def closing(self) -> Sequence[Event]:
        return [Event(b"{}", "stop")]

    def failed(self, error: ApiError) -> Sequence[Event]:
        return [Event(b'{"why":"%b"}' % str(error).encode(), "error")]

    def whole(self, finished: Sequence[tuple[int, Delta]]) -> bytes:
        return finished[0][1].text.encode()


async def transcript(engine: ScriptedEngine, *, stream: bool) -> str:
    config = ServerConfig(port=0)
    app = build_app(engine, config)

    async def endpoint(request: web.Request) -> web.StreamResponse:
        wanted = GenerationRequest("a", [5], SamplingParams())
        async with Generation(engine, [wanted]) as generation:
            reply = Reply("a", generation, NamedEvents(), request.app[CONTEXT].workers)
            return await respond(request, reply, stream=stream)

    app.router.add_get("/own", endpoint)
    runner = make_runner(app)
    await runner.setup()
    with listen(config) as listener:
        await start_site(runner, app, listener)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as http, http.get("/own") as response:
            text = await response.text()
        await runner.cleanup()
    return text


async def test_events_have_their_names_and_the_stream_ends_as_the_api_says() -> None:
    expected = 'event: start\ndata: {"input":3}\n\nevent: delta\ndata: {"text":"you"}\n\nevent: stop\ndata: {}\n\n'
    assert await transcript(ScriptedEngine("you"), stream=True) == expected
    assert await transcript(ScriptedEngine("you"), stream=False) == "you"


async def test_an_error_on_the_way_is_told_in_the_api_s_words() -> None:
    script = deltas_script(Delta(0, finish_reason=FinishReason.ERROR, error="no more"))
    text = await transcript(ScriptedEngine(script=script), stream=True)
    assert text.endswith('event: error\ndata: {"why":"no more"}\n\n')
