"""What a speech model's files say of its use: the frames that it hears, the languages that it knows, the tokens that it must not draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octavo.checkpoint.config_keys import ConfigKeys

__all__ = ["SpeechConfig", "read_speech"]


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """Plain data.

    Attributes:
        num_mels: of a frame.
        num_positions: rows that the encoder makes of a window of 30 seconds.
        languages: their codes; empty: the model knows English only.
        suppressed: tokens that are never drawn; begin_suppressed: that are not drawn first.
        max_initial_time: how many timestamps after 0.00 the first one may be; None: any number.
    """

    num_mels: int
    num_positions: int
    languages: tuple[str, ...] = ()
    suppressed: tuple[int, ...] = ()
    begin_suppressed: tuple[int, ...] = ()
    max_initial_time: int | None = None


def read_speech(source: str, config: Mapping[str, Any], generation: Mapping[str, Any]) -> SpeechConfig:
    """Read config.json and generation_config.json. Raises `CheckpointError` naming a key that makes no sense."""
    keys, drawing = ConfigKeys(source, config), ConfigKeys(source, generation)
    languages = drawing.section("lang_to_id").mapping() if drawing.flag("is_multilingual", True) else {}
    return SpeechConfig(
        num_mels=keys.count("num_mel_bins", 80, most=1024),
        num_positions=keys.count("max_source_positions", 1500),
        languages=tuple(sorted(code.strip("<|>") for code in languages)),
        suppressed=tuple(drawing.counts("suppress_tokens", None)),
        begin_suppressed=tuple(drawing.counts("begin_suppress_tokens", None)),
        max_initial_time=drawing.optional_count("max_initial_timestamp_index", least=0),
    )
