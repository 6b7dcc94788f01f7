"""What `LLM.transcribe` returns, and how it asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from octavo.errors import InvalidRequestError
from octavo.speech import SAMPLE_RATE, Segment, Transcriber, TranscriptionOptions, read_audio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from octavo.engine.port import Engine
    from octavo.types import Delta, GenerationRequest

__all__ = ["Transcript", "options_of", "samples_of", "transcribe"]

_TASKS = ("transcribe", "translate")


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said in a sound.

    Attributes:
        language: code of what is spoken.
        duration: of the sound, in seconds.
        segments: in order, with times in seconds.
    """

    text: str
    language: str
    duration: float
    segments: list[Segment] = field(default_factory=list)


def options_of(task: str, language: str | None, prompt: str, temperature: float, seed: int | None) -> TranscriptionOptions:
    """Check a call's arguments. Raises `InvalidRequestError` for a task that there is not."""
    if task not in _TASKS:
        raise InvalidRequestError(f"task is {task!r}; it can be {' or '.join(_TASKS)}", "task")
    return TranscriptionOptions(language, task == "translate", prompt, temperature, seed)


def samples_of(sound: str | Path | bytes | NDArray[np.float32], max_seconds: float) -> NDArray[np.float32]:
    """float32 [samples] of a file, its bytes, or samples themselves, 16,000 a second. Raises `InvalidRequestError` for anything else."""
    import numpy as np

    if isinstance(sound, np.ndarray):
        if sound.ndim != 1 or sound.dtype != np.float32 or not len(sound):
            raise InvalidRequestError(
                f"audio is an array of {sound.dtype} {sound.shape}; it must be float32 [samples], 16000 a second", "audio"
            )
        return sound
    if isinstance(sound, bytes):
        return read_audio(sound, max_seconds=max_seconds, param="audio")
    try:
        data = Path(sound).read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"audio: cannot read {sound}: {error.strerror or error}", "audio") from error
    return read_audio(data, max_seconds=max_seconds, param="audio")


async def transcribe(engine: Engine, samples: NDArray[np.float32], options: TranscriptionOptions, name: str) -> Transcript:
    """Transcribe one sound. `name`: of its requests."""

    async def generate(request: GenerationRequest) -> list[Delta]:
        async with await engine.submit(request) as stream:
            return [delta async for delta in stream]

    transcriber = Transcriber(engine.info, engine.tokenizer, generate)
    if options.language is None:
        language = await transcriber.language_of(samples, f"{name}-language")
    else:
        language = transcriber.check_language(options.language)
    segments = [segment async for segment in transcriber.segments(samples, options, name, language)]
    text = "".join(segment.text for segment in segments).strip()
    return Transcript(text, language, len(samples) / SAMPLE_RATE, segments)
