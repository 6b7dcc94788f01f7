"""How many tokens the next step takes, so that streams that decode do not wait long while prompts are computed.

A step of T tokens is taken to last a + b * T milliseconds. Both are fitted, by least squares with exponentially fading weights, to
the steps that carried prompt tokens; the next step gets the T of the target. Where recent steps are of one size the slope is the
line's through the origin: then too long a step is shortened by less than it takes, again and again, and never by too much (a >= 0).

Noise that goes along with the size of steps turns the line. No step is therefore larger than one that would last `_MAX_OVERSHOOT` times
the target with a = 0, the steepest line through the mean m of what was seen: a + b T <= (a + b m) T / m where T >= m. If measured times
are right to within a factor of f, no step that is longer than those before takes more than f * `_MAX_OVERSHOOT` times the target.
"""

from __future__ import annotations

from octavo.step import StepPlan, StepResult

__all__ = ["MIN_PROMPT_TOKENS", "StepPace"]

MIN_PROMPT_TOKENS = 32  # prompts always go on, however long a step without them takes
_LEAST_BACKLOG = 256  # tokens of prompts that a device takes along which is fast at large steps
_FADING = 7 / 8  # weight of a step relative to the next one: the last eight or so count
_MAX_SURPRISE = 2.0  # a step counts as at most this many times longer or shorter than was expected
_MAX_GROWTH = 2.0  # no step is more than this many times larger than recent ones: the line is known near them only
_MAX_OVERSHOOT = 1.25  # of the target, if all of a step's time were in its tokens
_MIN_SPREAD = 0.1  # sizes that differ by less, relative to their mean, say nothing about the slope
_MIN_SLOPE = 1 / 3  # of the slope through the origin


class StepPace:
    """Chooses the token budget of steps in which somebody decodes. One plan may be submitted before the last one is observed.

    Args:
        target_ms: how long such a step should take; 0: any time, every step gets the whole budget.
        max_num_tokens: the whole budget.
        backlog_steps: prompts that wait are computed in so many steps of this size, about, even if these last longer: where a device is
            fast at large steps a queue must not grow for the sake of the target. None: the target holds whoever waits.

    Attributes:
        counts_waiting: whether `token_budget` asks how much waits.
    """

    def __init__(self, target_ms: float, max_num_tokens: int, backlog_steps: int | None = None) -> None:
        self.counts_waiting = backlog_steps is not None
        self._backlog_steps = backlog_steps or 1
        self._target_ms = target_ms
        self._max_num_tokens = max_num_tokens
        self._last_num_tokens = 0
        # Weighted sums over observed steps: weights, tokens, milliseconds, tokens * tokens, tokens * milliseconds.
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)

    def token_budget(self, num_decoding: int, num_waiting_tokens: int = 0) -> int:
        """Most tokens of the next step, in which `num_decoding` sequences decode. Where none does, nobody waits: all there are."""
        if num_decoding == 0 or self._target_ms == 0:
            return self._max_num_tokens
        backlog = num_decoding + max(num_waiting_tokens // self._backlog_steps, _LEAST_BACKLOG) if self.counts_waiting else 0
        return min(max(self._target_tokens(), backlog, num_decoding + MIN_PROMPT_TOKENS), self._max_num_tokens)

    def observe(self, plan: StepPlan, result: StepResult) -> None:
        """Learn from a step that ran. One that only decodes says nothing about prompts and is passed over."""
        num_tokens = sum(plan.num_scheduled_tokens)
        if num_tokens == len(plan.rows) or result.run_ms <= 0:
            return
        run_ms = result.run_ms
        if self._sums[0]:
            expected_ms = self.expected_ms(num_tokens)
            run_ms = min(max(run_ms, expected_ms / _MAX_SURPRISE), expected_ms * _MAX_SURPRISE)
        self._last_num_tokens = num_tokens
        seen = (1.0, num_tokens, run_ms, num_tokens * num_tokens, num_tokens * run_ms)
        self._sums = tuple(_FADING * old + new for old, new in zip(self._sums, seen, strict=True))  # type: ignore[assignment]

    def expected_ms(self, num_tokens: int) -> float:
        """How long a step of so many tokens takes. Something must have been observed."""
        mean_tokens, mean_ms, slope = self._line()
        return mean_ms + slope * (num_tokens - mean_tokens)

    def _target_tokens(self) -> int:
        """Tokens of a step that takes the target; 0 before anything was observed."""
        if not self._sums[0]:
            return 0
        mean_tokens, mean_ms, slope = self._line()
        wanted = mean_tokens + (self._target_ms - mean_ms) / slope
        safe = _MAX_OVERSHOOT * mean_tokens * self._target_ms / mean_ms
        return int(min(wanted, safe, _MAX_GROWTH * max(mean_tokens, self._last_num_tokens)))

    def _line(self) -> tuple[float, float, float]:
        """The fitted line: its centre (tokens, ms), and its slope in ms per token, > 0."""
        weight, tokens, ms, tokens_tokens, tokens_ms = self._sums
        mean_tokens, mean_ms = tokens / weight, ms / weight
        through_origin = mean_ms / mean_tokens
        doubt = (_MIN_SPREAD * mean_tokens) ** 2  # ridge: as if seen besides, on the line through the origin
        variance = tokens_tokens / weight - mean_tokens**2
        covariance = tokens_ms / weight - mean_tokens * mean_ms
        slope = (covariance + doubt * through_origin) / (variance + doubt)
        return mean_tokens, mean_ms, min(max(slope, _MIN_SLOPE * through_origin), through_origin)
