"""POST /v1/audio/transcriptions and /v1/audio/translations: what is said in a sound file, as OpenAI's clients ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson
from aiohttp import web

from octavo.server.edge.body import parse_body
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.form import parse_form
from octavo.server.edge.generation import Generation
from octavo.server.edge.raw_body import read_raw_body
from octavo.server.edge.reply import Event, SendEvent, awaiting
from octavo.server.edge.request_ids import name_request
from octavo.server.edge.sse import send_events
from octavo.server.openai.models import check_model
from octavo.server.openai.transcript_formats import document
from octavo.server.openai.transcription_body import TranscriptionBody, TranslationBody
from octavo.speech import SAMPLE_RATE, Segment, Transcriber, TranscriptionOptions, read_audio

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext
    from octavo.server.edge.errors import ApiError
    from octavo.types import Delta, GenerationRequest

__all__ = ["ROUTES"]


async def _transcriptions(request: web.Request) -> web.StreamResponse:
    return await _answer(request, TranscriptionBody, translate=False)


async def _translations(request: web.Request) -> web.StreamResponse:
    return await _answer(request, TranslationBody, translate=True)


async def _answer(request: web.Request, kind: type[TranslationBody], *, translate: bool) -> web.StreamResponse:
    context = request.app[CONTEXT]
    raw = await read_raw_body(request, is_media=True)
    body = parse_body(parse_form(request.headers.get("Content-Type", ""), raw, frozenset({"file"})), kind)
    check_model(context, body.model)
    transcript = await _Transcript.begin(context, body, translate=translate)
    name_request(request, transcript.name)
    if isinstance(body, TranscriptionBody) and body.stream:
        return await send_events(request, _Stream(transcript), stall_s=context.stall_s)
    with awaiting(request):
        segments = [segment async for segment in transcript.segments()]
    text, media_type = document(body.response_format, segments, transcript.language, transcript.seconds, translate=translate)
    return web.Response(body=text, content_type=media_type, charset="utf-8")


class _Transcript:
    """One request: its sound, and the segments that are made of it."""

    def __init__(self, transcriber: Transcriber, samples, options: TranscriptionOptions, name: str, language: str) -> None:
        self._transcriber, self._samples, self._options = transcriber, samples, options
        self.name, self.language = name, language
        self.seconds = len(samples) / SAMPLE_RATE

    @classmethod
    async def begin(cls, context: ServerContext, body: TranslationBody, *, translate: bool) -> _Transcript:
        """Read the sound and find out what language is spoken. Raises what these raise."""
        engine = context.engine
        transcriber = Transcriber(engine.info, engine.tokenizer, partial(_generate, context))
        language = None if body.language is None else transcriber.check_language(body.language)
        read = partial(read_audio, body.file, max_seconds=context.config.max_audio_seconds)
        samples = await context.workers.run(len(body.file) + (1 << 20), read)
        options = TranscriptionOptions(language, translate, body.prompt, body.temperature, body.seed)
        name = f"transcript-{uuid4().hex}"
        if language is None:
            language = await transcriber.language_of(samples, f"{name}-language")
        return cls(transcriber, samples, options, name, language)

    def segments(self) -> AsyncIterator[Segment]:
        """What is said, as it becomes known."""
        return self._transcriber.segments(self._samples, self._options, self.name, self.language)


class _Stream:
    """A transcript as OpenAI's events: a delta for each segment, then the whole text."""

    last_word = b"[DONE]"

    def __init__(self, transcript: _Transcript) -> None:
        self.shape = self
        self._transcript = transcript

    async def send_events(self, send: SendEvent) -> None:
        """See `EventSource.send_events`."""
        text = ""
        async for segment in self._transcript.segments():
            delta = segment.text if text else segment.text.lstrip()
            text += delta
            await send(Event(orjson.dumps({"type": "transcript.text.delta", "delta": delta})))
        await send(Event(orjson.dumps({"type": "transcript.text.done", "text": text.strip()})))

    def failed(self, error: ApiError) -> Sequence[Event]:
        """See `Shape.failed`."""
        return [Event(error.json())]


async def _generate(context: ServerContext, request: GenerationRequest) -> list[Delta]:
    async with Generation(context.engine, [request]) as generation:
        return [delta async for _, delta in generation]


ROUTES = [web.post("/v1/audio/transcriptions", _transcriptions), web.post("/v1/audio/translations", _translations)]
