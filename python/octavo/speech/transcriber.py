"""Speech to segments through the engine: windows of 30 seconds one after the other, each beginning where the last one's speech ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from octavo.errors import InvalidRequestError
from octavo.speech.audio_file import SAMPLE_RATE
from octavo.speech.languages import LANGUAGE_NAMES
from octavo.speech.log_mel import WINDOW_SECONDS, window_picture
from octavo.speech.segments import Segment, cut
from octavo.types import Delta, GenerationRequest, Picture, SamplingParams, TimestampRules

if TYPE_CHECKING:
    from octavo.engine.model_info import ModelInfo
    from octavo.text.tokenizer import Tokenizer

__all__ = ["Generate", "Transcriber", "TranscriptionOptions"]

Generate = Callable[[GenerationRequest], Awaitable[Sequence[Delta]]]
"""Runs a request and returns all its deltas."""


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """What is asked of a transcription.

    Attributes:
        language: code of what is spoken, such as "en"; None: the model says, from the first window.
        translate: whether the text is English, whatever is spoken.
        prompt: text before the first window, whose spelling and style the model takes up.
        temperature: 0 is greedy.
        seed: makes the draws repeatable; None: drawn for each request.
    """

    language: str | None = None
    translate: bool = False
    prompt: str = ""
    temperature: float = 0.0
    seed: int | None = None


class Transcriber:
    """Transcribes with one model. Raises `InvalidRequestError` where that hears no speech.

    Args:
        generate: how its requests are run.
    """

    def __init__(self, info: ModelInfo, tokenizer: Tokenizer, generate: Generate) -> None:
        if info.speech is None:
            raise InvalidRequestError(f"{info.name} hears no speech; serve a Whisper model", "model")
        self._speech, self._tokenizer, self._generate = info.speech, tokenizer, generate
        self._max_model_len = info.max_model_len
        self._start, self._previous = self._id("<|startoftranscript|>"), self._id("<|startofprev|>")
        self._end, no_times = self._id("<|endoftext|>"), self._id("<|notimestamps|>")
        self._rules = TimestampRules(
            no_times + 1, self._end, self._speech.max_initial_time, self._speech.suppressed, self._speech.begin_suppressed
        )

    async def language_of(self, samples: NDArray[np.float32], name: str) -> str:
        """The code of the language that the first window's speech is in. `name`: of the request."""
        if not self._speech.languages:
            return "en"
        codes = {self._id(f"<|{code}|>"): code for code in self._speech.languages}
        params = SamplingParams(temperature=0.0, max_tokens=1, allowed_token_ids=tuple(codes), ignore_eos=True)
        deltas = await self._generate(GenerationRequest(name, [self._start], params, pictures=(await self._picture(samples),)))
        (token_id,) = Delta.joined(deltas).token_ids
        return codes[token_id]

    async def segments(
        self, samples: NDArray[np.float32], options: TranscriptionOptions, name: str, language: str
    ) -> AsyncIterator[Segment]:
        """Yield what is said, segment by segment.

        Args:
            samples: float32 [samples], 16,000 a second.
            name: of the request; its windows are `name` with a number behind.
            language: code of what is spoken: `options.language`, or `language_of`.
        """
        seek = window = 0
        while seek < len(samples):
            part = samples[seek : seek + WINDOW_SECONDS * SAMPLE_RATE]
            prompt = self._prompt(options, language, is_first=window == 0)
            params = SamplingParams(temperature=options.temperature, max_tokens=None, seed=options.seed, logprobs=0)
            request = GenerationRequest(f"{name}-{window}", prompt, params, pictures=(await self._picture(part),), timestamps=self._rules)
            drawn = Delta.joined(await self._generate(request))
            token_ids = [token for token in drawn.token_ids if token != self._end]
            logprobs = [entry.logprob for entry in drawn.logprobs or ()]
            found, seconds = cut(token_ids, self._rules.first_id, seek / SAMPLE_RATE, len(part) / SAMPLE_RATE)
            for segment in found:
                segment.text = self._tokenizer.decode([token for token in segment.token_ids if token < self._end])
                segment.seek, segment.avg_logprob = seek * 100 // SAMPLE_RATE, sum(logprobs) / max(len(logprobs), 1)
                if segment.text.strip():
                    yield segment
            seek, window = seek + int(seconds * SAMPLE_RATE), window + 1

    def check_language(self, code: str) -> str:
        """Return the code of a language that is named by its code or in English. Raises `InvalidRequestError` for one that is not known."""
        known = self._speech.languages or ("en",)
        wanted = code.strip().lower()
        wanted = next((short for short, name in LANGUAGE_NAMES.items() if name == wanted), wanted)
        if wanted not in known:
            raise InvalidRequestError(f"language is {code[:40]!r}; this model knows {', '.join(known)}", "language")
        return wanted

    async def _picture(self, samples: NDArray[np.float32]) -> Picture:
        speech = self._speech
        return await asyncio.to_thread(window_picture, samples[: WINDOW_SECONDS * SAMPLE_RATE], speech.num_mels, speech.num_positions)

    def _prompt(self, options: TranscriptionOptions, language: str, *, is_first: bool) -> list[int]:
        before = []
        if is_first and options.prompt.strip():
            text = self._tokenizer.encode(" " + options.prompt.strip(), add_special_tokens=False)
            before = [self._previous, *[token for token in text if token < self._end][1 - self._max_model_len // 2 :]]
        if not self._speech.languages:
            return [*before, self._start]
        task = self._id("<|translate|>" if options.translate else "<|transcribe|>")
        return [*before, self._start, self._id(f"<|{language}|>"), task]

    def _id(self, token: str) -> int:
        token_ids = self._tokenizer.encode(token, add_special_tokens=False)
        if len(token_ids) != 1:
            raise InvalidRequestError(f"the model's tokenizer has no token {token}: its folder is not a whole Whisper model", "model")
        return token_ids[0]
