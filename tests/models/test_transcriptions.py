"""Transcriptions over HTTP, by OpenAI's own client, of a tiny random Whisper."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer

from fakes.tiny_whisper import make_tiny_whisper, tone
from octavo.assemble import build_engine
from octavo.config import EngineConfig, PlacementConfig, SchedulingConfig, ServerConfig
from octavo.server.app import build_app

pytest.importorskip("torch")
soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whisper")
    make_tiny_whisper(path)
    return path


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[TestClient]:
    config = EngineConfig(
        str(folder),
        scheduling=SchedulingConfig(max_num_seqs=3),
        placement=PlacementConfig(device="cpu", arithmetic="exact", threads=2),
        served_model_name=("whisper-1",),
    )
    engine = build_engine(config)
    await engine.start()
    async with TestClient(TestServer(build_app(engine, ServerConfig(max_body_bytes=200_000, max_audio_seconds=40)))) as client:
        yield client
    await engine.close()


@pytest.fixture
def client(server: TestClient) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=str(server.make_url("/v1")), api_key="none", max_retries=0)


def sound(seconds: float = 6.0) -> tuple[str, bytes]:
    file = io.BytesIO()
    soundfile.write(file, tone(seconds), 16000, format="OGG")
    return "talk.ogg", file.getvalue()


async def test_formats_say_the_same(client: openai.AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": "whisper-1", "file": sound(), "language": "de", "temperature": 0.0}
    plain = await client.audio.transcriptions.create(**asked)
    assert plain.text and plain.usage.seconds == 6
    verbose = await client.audio.transcriptions.create(**asked, response_format="verbose_json", timestamp_granularities=["segment"])
    assert (verbose.text, verbose.language, verbose.duration) == (plain.text, "german", 6.0)
    assert "".join(segment.text for segment in verbose.segments).strip() == plain.text
    assert all(segment.start <= segment.end and segment.avg_logprob < 0 for segment in verbose.segments)
    text = await client.audio.transcriptions.create(**asked, response_format="text")
    assert text.strip() == plain.text.strip()
    srt = await client.audio.transcriptions.create(**asked, response_format="srt")
    assert srt.startswith("1\n00:00:0") and " --> " in srt
    vtt = await client.audio.transcriptions.create(**asked, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:0") and vtt.count("-->") == len(verbose.segments)


async def test_a_stream_says_the_same(client: openai.AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": "whisper-1", "file": sound(35), "language": "fr", "prompt": "Names: Ada"}
    plain = await client.audio.transcriptions.create(**asked)
    events = [event async for event in await client.audio.transcriptions.create(**asked, stream=True)]
    assert [event.type for event in events[-1:]] == ["transcript.text.done"]
    assert events[-1].text == plain.text
    assert "".join(event.delta for event in events[:-1]).strip() == plain.text
    assert len(events) > 2


async def test_translations(client: openai.AsyncOpenAI) -> None:
    made = await client.audio.translations.create(model="whisper-1", file=sound(), response_format="verbose_json")
    assert made.language == "english" and made.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "xx"}, "language"),
        ({"temperature": 3}, "temperature"),
        ({"response_format": "pdf"}, "response_format"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities[0]"),
        ({"file": ("talk.wav", b"RIFF")}, "file"),
        ({"file": sound(45)}, "file"),
        ({"model": "gpt-x"}, "model"),
    ],
)
async def test_bad_requests_name_the_field(client: openai.AsyncOpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as error:
        await client.audio.transcriptions.create(**{"model": "whisper-1", "file": sound(), **fields})
    assert error.value.param == param
    assert (await client.audio.transcriptions.create(model="whisper-1", file=sound(1))).text is not None


async def test_forms_that_are_none(server: TestClient) -> None:
    url = "/v1/audio/transcriptions"
    assert (await server.post(url, json={"model": "whisper-1"})).status == 415
    headers = {"Content-Type": "multipart/form-data; boundary=xx"}
    for body in (b"", b"--xx\r\n\r\n--xx--", b"--xx\r\nContent-Disposition: form-data; name=file\r\n\r\nabc", b"--xx--"):
        assert (await server.post(url, data=body, headers=headers)).status == 400
    assert (await server.post(url, data=b"x" * 1_700_000, headers=headers)).status == 413
    form = FormData()
    form.add_field("file", sound(1)[1], filename="talk.ogg")
    assert (await server.post(url, data=form, headers={"Origin": "https://evil.example"})).status == 415


async def test_other_routes_name_the_right_one(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="audio/transcriptions"):
        await client.completions.create(model="whisper-1", prompt="Hello", max_tokens=1)
