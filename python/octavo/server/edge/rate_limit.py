"""How much of something may be used in a minute: a bucket that fills steadily (token bucket, RFC 2697's with one rate)."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["RateLimit"]


class RateLimit:
    """Allows `per_minute` on average, and as much at once after a minute's rest.

    What is taken may exceed what is there, because a request's tokens are known only when it has ended: the debt is waited off.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._at = clock()

    @property
    def remaining(self) -> int:
        """Whole units that may be taken now."""
        return max(0, int(self._filled()))

    def wait_s(self, amount: float = 1.0) -> float:
        """Seconds until `amount` is there; 0: now."""
        return max(0.0, amount - self._filled()) * 60 / self.per_minute

    def take(self, amount: int) -> None:
        """Use `amount`, whether or not it is there."""
        self._level = self._filled() - amount

    def _filled(self) -> float:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._level
