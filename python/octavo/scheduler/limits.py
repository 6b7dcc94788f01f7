"""What a step and a sequence may hold at most."""

from __future__ import annotations

from dataclasses import dataclass, fields

from octavo.errors import ConfigError

__all__ = ["SchedulerLimits"]


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """Limits of the scheduler, each >= 1; `ConfigError` otherwise.

    Attributes:
        max_num_seqs: rows of the runner's persistent batch.
        max_num_batched_tokens: the token budget of a step.
        max_num_logits: most positions of a step whose logits are computed.
        max_model_len: most tokens of a sequence, prompt and output together.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    max_num_logits: int
    max_model_len: int

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value < 1:
                raise ConfigError(f"{limit.name} is {value}; it must be at least 1")

    @property
    def max_running(self) -> int:
        """Sequences that may run at once: each must be able to have one token and one logits row in every step."""
        return min(self.max_num_seqs, self.max_num_batched_tokens, self.max_num_logits)
