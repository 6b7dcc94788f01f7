"""Bodies of transcriptions: multipart/form-data (RFC 7578), whose fields are texts and whose file is a sound."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from octavo.server.edge.body import RequestBody

__all__ = ["TranscriptionBody", "TranslationBody"]


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _whole(value: Any) -> Any:
    try:
        return int(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _flag(value: Any) -> Any:
    return {"true": True, "false": False, "1": True, "0": False}.get(value.lower(), value) if isinstance(value, str) else value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class TranslationBody(RequestBody):
    """POST /v1/audio/translations. `language`: what is spoken; left out, the model says."""

    file: bytes = Field(repr=False)
    model: Annotated[str, Field(max_length=200)] | None = None
    prompt: Annotated[str, Field(max_length=10_000)] = ""
    language: Annotated[str, Field(max_length=40)] | None = None
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"
    temperature: Annotated[float, BeforeValidator(_number), Field(ge=0.0, le=1.0)] = 0.0
    seed: Annotated[int, BeforeValidator(_whole), Field(ge=-(2**63), lt=2**63)] | None = None


class TranscriptionBody(TranslationBody):
    """POST /v1/audio/transcriptions. Sounds are cut into windows of 30 seconds, and times are those of segments."""

    stream: Annotated[bool, BeforeValidator(_flag)] = False
    timestamp_granularities: Annotated[list[Literal["segment"]], BeforeValidator(_several)] | None = None
    chunking_strategy: Literal["auto"] | None = None
