"""Numbers about an engine: a snapshot for whoever asks, events for whoever keeps histograms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from octavo.types import FinishReason, GenerationRequest

__all__ = ["CoreStats", "EngineCounters", "EngineObserver", "EngineStats", "RequestSummary"]


@dataclass(frozen=True, slots=True)
class CoreStats:
    """What the core knows. The first three say how things stand, the others count since the start.

    Attributes:
        num_running: sequences (choices) in the running batch.
        num_waiting: requests of which no sequence runs.
        kv_usage: share of the KV-cache blocks that running sequences hold, 0..1.
        preemptions: sequences that lost their blocks and had to be computed again.
        steps: results taken from the runner.
        rebuilds: times that the runner was built again after a fault.
    """

    num_running: int
    num_waiting: int
    kv_usage: float
    preemptions: int
    steps: int
    rebuilds: int = 0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot: what `CoreStats` says, and what the front has counted since the start.

    Attributes:
        prompt_tokens: prompt tokens of the requests whose first token is drawn.
        cached_prompt_tokens: those of them that the prefix cache served.
        generation_tokens: tokens drawn and kept.
        finished: finish reason -> choices that ended so.
    """

    num_running: int
    num_waiting: int
    kv_usage: float
    prompt_tokens: int
    cached_prompt_tokens: int
    generation_tokens: int
    finished: dict[FinishReason, int]
    preemptions: int
    steps: int
    rebuilds: int = 0


@dataclass(slots=True)
class EngineCounters:
    """The front's half of `EngineStats`."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: Counter[FinishReason] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """A request that has ended.

    Attributes:
        finish_reasons: one per choice.
        num_prompt_tokens: tokens of the prompt.
        num_cached_tokens: those that the prefix cache served.
        num_generation_tokens: outputs of all choices.
        ttft_s: from arrival to the first token, seconds; None where there was none.
        e2e_s: from arrival to the end of the last choice, seconds.
        queue_s: until its first step, seconds; 0 where it has had none.
    """

    finish_reasons: tuple[FinishReason, ...]
    num_prompt_tokens: int
    num_cached_tokens: int
    num_generation_tokens: int
    ttft_s: float | None
    e2e_s: float
    queue_s: float = 0.0


class EngineObserver(Protocol):
    """Told what happens to requests, on the engine's event loop, in order. Must return at once and never raise."""

    def queued(self, request: GenerationRequest) -> None:
        """The request was accepted."""
        ...

    def first_token(self, request: GenerationRequest, ttft_s: float) -> None:
        """Its first token came, `ttft_s` seconds after its arrival. Once per request."""
        ...

    def inter_token(self, request: GenerationRequest, itl_s: float) -> None:
        """A choice got a further token, `itl_s` seconds after its last one."""
        ...

    def finished(self, request: GenerationRequest, summary: RequestSummary) -> None:
        """Its last choice ended. Once per request."""
        ...
