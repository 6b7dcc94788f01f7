"""From a window's tokens to segments with times, and to where the next window begins (Radford et al. 2022, section 4.5)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from itertools import pairwise

__all__ = ["Segment", "cut"]

SECONDS_PER_TIME = 0.02  # between two timestamp tokens


@dataclass(slots=True)
class Segment:
    """A stretch of speech.

    Attributes:
        start, end: seconds from the beginning of the sound.
        seek: where its window begins, in hundredths of a second.
        avg_logprob: mean log-probability of the window's tokens.
    """

    start: float
    end: float
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    seek: int = 0
    avg_logprob: float = 0.0

    @property
    def compression_ratio(self) -> float:
        """Bytes of the text by what zlib makes of them: a text that repeats itself has a high one."""
        data = self.text.encode()
        return len(data) / len(zlib.compress(data))


def cut(token_ids: list[int], first_time: int, offset: float, window_seconds: float) -> tuple[list[Segment], float]:
    """Segments of a window, without texts, and the seconds from its beginning to that of the next one.

    Two timestamps side by side end a segment and begin the next. A window whose last segment has no end begins again where that began.

    Args:
        token_ids: of the window, without the end token.
        first_time: id of the timestamp 0.00; what is greater stands for later times.
        offset: where the window begins, in seconds.
        window_seconds: of sound in the window.
    """
    is_time = [token >= first_time for token in token_ids]
    ends_with_one = is_time[-2:] == [False, True]
    borders = [index + 1 for index, (one, other) in enumerate(pairwise(is_time)) if one and other]
    if not borders:
        return _only_segment(token_ids, first_time, offset, window_seconds), window_seconds
    if ends_with_one:
        borders.append(len(token_ids))
    segments = []
    for begin, end in pairwise([0, *borders]):
        times = [token - first_time for token in (token_ids[begin], token_ids[end - 1])]
        start, stop = (offset + max(time, 0) * SECONDS_PER_TIME for time in times)
        segments.append(Segment(start, stop, token_ids=token_ids[begin:end]))
    if ends_with_one:
        return segments, window_seconds
    return segments, (token_ids[borders[-1] - 1] - first_time) * SECONDS_PER_TIME or window_seconds


def _only_segment(token_ids: list[int], first_time: int, offset: float, window_seconds: float) -> list[Segment]:
    times = [token - first_time for token in token_ids if token > first_time]
    end = times[-1] * SECONDS_PER_TIME if times else window_seconds
    return [Segment(offset, offset + end, token_ids=token_ids)] if token_ids else []
