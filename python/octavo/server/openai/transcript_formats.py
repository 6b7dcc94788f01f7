"""A transcript in the formats of OpenAI's API: JSON, plain text, SubRip and WebVTT (https://www.w3.org/TR/webvtt1/) subtitles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from octavo.speech import Segment
from octavo.speech.languages import LANGUAGE_NAMES

__all__ = ["document"]


def document(kind: str, segments: Sequence[Segment], language: str, seconds: float, *, translate: bool) -> tuple[bytes, str]:
    """The bytes of an answer and its media type. `seconds`: of the sound."""
    text = "".join(segment.text for segment in segments).strip()
    if kind == "text":
        return f"{text}\n".encode(), "text/plain"
    if kind == "srt":
        return "".join(_subtitle(segment, str(number), ",") for number, segment in enumerate(segments, 1)).encode(), "application/x-subrip"
    if kind == "vtt":
        return ("WEBVTT\n\n" + "".join(_subtitle(segment, "", ".") for segment in segments)).encode(), "text/vtt"
    usage = {"type": "duration", "seconds": -int(-seconds // 1)}
    answer: dict[str, Any] = {"text": text, "usage": usage}
    if kind == "verbose_json":
        shown = LANGUAGE_NAMES.get("en" if translate else language, language)
        entries = [_entry(index, segment) for index, segment in enumerate(segments)]
        answer |= {"task": "translate" if translate else "transcribe", "language": shown, "duration": seconds, "segments": entries}
    return orjson.dumps(answer), "application/json"


def _entry(index: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": index,
        "seek": segment.seek,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": segment.token_ids,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
    }


def _subtitle(segment: Segment, number: str, point: str) -> str:
    head = f"{number}\n" if number else ""
    return f"{head}{_time(segment.start, point)} --> {_time(segment.end, point)}\n{segment.text.strip().replace('-->', '->')}\n\n"


def _time(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"
