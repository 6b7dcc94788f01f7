"""What a step and a sequence may hold at most."""

from __future__ import annotations

from dataclasses import dataclass

from octavo.errors import ConfigError

__all__ = ["SchedulerLimits"]


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """Limits of the scheduler; `ConfigError` where one is below 1 (max_num_drafts, max_num_forced: 0).

    Attributes:
        max_num_seqs: rows of the runner's persistent batch.
        max_num_batched_tokens: the token budget of a step.
        max_num_logits: most positions of a step whose logits are computed.
        max_model_len: most tokens of a sequence, prompt and output together.
        max_num_drafts: most tokens that the runner may propose for a sequence in a step; 0: it proposes none.
        max_priority: the most urgent priority that a request has: a lower number counts as this one. None: any.
        max_num_forced: as max_num_drafts, for a sequence whose grammar leaves no choice about some tokens.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    max_num_logits: int
    max_model_len: int
    max_num_drafts: int = 0
    max_priority: int | None = None
    max_num_forced: int = 0

    def __post_init__(self) -> None:
        least = {
            "max_num_seqs": 1,
            "max_num_batched_tokens": 1,
            "max_num_logits": 1,
            "max_model_len": 1,
            "max_num_drafts": 0,
            "max_num_forced": 0,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            if value < minimum:
                raise ConfigError(f"{name} is {value}; it must be at least {minimum}")

    @property
    def max_running(self) -> int:
        """Sequences that may run at once: each must be able to have one token and one logits row in every step."""
        return min(self.max_num_seqs, self.max_num_batched_tokens, self.max_num_logits)
