"""When things happened to one request. All times are seconds of `time.perf_counter`."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

__all__ = ["Timeline"]


@dataclass(slots=True)
class Timeline:
    """One request, from sending to its last token.

    Attributes:
        sent: when it was sent (not when it was due).
        num_prompt_tokens: length of its prompt.
        num_cached_tokens: prompt tokens that the prefix cache served; None where the server does not say.
        arrivals: (time, tokens that came then), in order. A slow reader gets several tokens at once.
        ended: when the stream ended.
        error: why it failed; None: it did not.
    """

    sent: float
    num_prompt_tokens: int
    num_cached_tokens: int | None = None
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    ended: float = 0.0
    error: str | None = None

    @property
    def num_output_tokens(self) -> int:
        return sum(count for _, count in self.arrivals)

    @property
    def ttft_s(self) -> float | None:
        """From sending to the first token; None where there was none."""
        return self.arrivals[0][0] - self.sent if self.arrivals else None

    @property
    def itl_s(self) -> list[float]:
        """Gaps between arrivals: what a reader sees. Tokens that come together have one gap before them."""
        times = [time for time, _ in self.arrivals]
        return [later - earlier for earlier, later in pairwise(times)]

    @property
    def tpot_s(self) -> float | None:
        """Mean time per token after the first; None with fewer than two tokens after the first arrival."""
        later_tokens = self.num_output_tokens - (self.arrivals[0][1] if self.arrivals else 0)
        return (self.arrivals[-1][0] - self.arrivals[0][0]) / later_tokens if later_tokens else None
