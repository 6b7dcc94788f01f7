"""Whisper against transformers, on a tiny random model: frames, encoder, logits, greedy tokens with times, and long sounds."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executors import SHAPE, all_logits, eager, step_program

from fakes.tiny_whisper import make_tiny_whisper, tone
from octavo import LLM, SamplingParams
from octavo._kernels import ThreadPool
from octavo.checkpoint import open_checkpoint
from octavo.errors import InvalidRequestError
from octavo.runner.media import TowerProgram
from octavo.speech import read_audio, transcriber
from octavo.speech.log_mel import log_mel, window_picture
from octavo.speech.segments import cut

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

POSITIONS = 1500
FIRST_TIME = 267
WHISPER_SHAPE = replace(SHAPE, max_model_len=128)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("whisper")
    return folder, make_tiny_whisper(folder)


def features(samples: np.ndarray, num_mels: int = 80) -> np.ndarray:
    extractor = transformers.WhisperFeatureExtractor(feature_size=num_mels)
    return extractor(samples, sampling_rate=16000, return_tensors="np").input_features


@pytest.mark.parametrize("num_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.3, 11.7, 30, 31])
def test_frames_are_those_of_transformers(seconds: float, num_mels: int) -> None:
    samples = tone(seconds)
    assert np.abs(log_mel(samples, num_mels, 480_000) - features(samples, num_mels)[0].T).max() <= 1e-4


def encoded(folder: Path, samples: np.ndarray) -> np.ndarray:
    half = open_checkpoint(folder).media_half()
    assert half is not None
    return TowerProgram(half, ThreadPool(2)).encode(window_picture(samples, 80, POSITIONS))


@pytest.mark.parametrize("build", [step_program, eager])
def test_logits_are_those_of_transformers(whisper: tuple[Path, Any], build: Any) -> None:
    folder, model = whisper
    samples = tone(12.3)
    token_ids = np.random.default_rng(0).integers(0, 256, 90).tolist()
    with torch.no_grad():
        inputs = torch.from_numpy(features(samples))
        expected = model(inputs, decoder_input_ids=torch.tensor([token_ids])).logits[0].numpy()
    executor = build(folder, WHISPER_SHAPE)
    executor.write_source(0, encoded(folder, samples))
    whole = all_logits(executor, token_ids, 512, WHISPER_SHAPE)
    assert np.abs(whole - expected).max() <= 1e-4 * np.abs(expected).max()
    if build is step_program:
        assert np.array_equal(all_logits(executor, token_ids, 7, WHISPER_SHAPE), whole)
        assert np.array_equal(all_logits(executor, token_ids, 1, WHISPER_SHAPE), whole)


def generated(model: Any, samples: np.ndarray, **settings: Any) -> list[int]:
    with torch.no_grad():
        inputs = torch.from_numpy(features(samples))
        made = model.generate(inputs, return_timestamps=True, do_sample=False, num_beams=1, temperature=0.0, **settings)
    return made[0].tolist()


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_greedy_tokens_are_those_of_transformers(whisper: tuple[Path, Any], task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = whisper
    samples = [tone(8, seed=1), tone(30, seed=2)]
    windows: list[list[int]] = []
    monkeypatch.setattr(transcriber, "cut", lambda tokens, *rest: windows.append(tokens) or cut(tokens, *rest))
    with LLM(str(folder), max_num_seqs=2) as llm:
        for each in samples:
            windows.clear()
            llm.transcribe(each, language="de", task=task)
            theirs = generated(model, each, language="de", task=task)
            segments, _ = cut(windows[0], FIRST_TIME, 0.0, len(each) / 16000)
            ours = [token for segment in segments for token in segment.token_ids]
            assert len(ours) > 8
            assert ours == theirs[: len(ours)]  # transformers goes on with a window of its own, of the same frames


def as_file(samples: np.ndarray, kind: str = "FLAC", rate: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "rate"), [("WAV", 16000), ("FLAC", 44100), ("OGG", 48000), ("MP3", 22050)])
def test_files_of_any_kind_are_read(kind: str, rate: int) -> None:
    time = np.arange(rate * 2) / rate
    left = np.sin(2 * np.pi * 440 * time).astype(np.float32) * 0.5
    samples = read_audio(as_file(np.stack([left, left], 1), kind, rate), max_seconds=10)
    assert abs(len(samples) / 16000 - 2) < 0.1
    spectrum = np.abs(np.fft.rfft(samples[4000:20000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"", "no sound file"), (b"RIFF and no more", "no sound file"), (as_file(tone(3))[:-2000] + b"", ""), (as_file(tone(0.001)), "empty")],
)
def test_a_bad_file_is_refused_by_name(data: bytes, word: str) -> None:
    if word:
        with pytest.raises(InvalidRequestError, match=word) as error:
            read_audio(data, max_seconds=10)
        assert error.value.param == "file"


def test_a_long_sound_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="longer than 10 seconds"):
        read_audio(as_file(tone(10.5)), max_seconds=10)
    assert len(read_audio(as_file(tone(10)), max_seconds=10)) == 160_000


def test_long_sounds_are_heard_window_by_window(whisper: tuple[Path, Any]) -> None:
    folder, _ = whisper
    with LLM(str(folder), max_num_seqs=2) as llm:
        transcript = llm.transcribe(tone(65), language="en")
        again = llm.transcribe(as_file(tone(65), "WAV"), language="en")
        assert llm.transcribe(tone(3)).language in ("en", "de", "fr")
        with pytest.raises(InvalidRequestError, match="hears speech"):
            llm.generate(["Hello"], SamplingParams(max_tokens=1))
        with pytest.raises(InvalidRequestError, match="this model knows de, en, fr"):
            llm.transcribe(tone(3), language="xx")
    assert transcript.duration == 65
    assert [segment.seek for segment in transcript.segments] == sorted(segment.seek for segment in transcript.segments)
    assert transcript.segments[-1].seek > 3000
    assert [segment.text for segment in again.segments][:1] == [segment.text for segment in transcript.segments][:1]
