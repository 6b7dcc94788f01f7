"""The two cuts of the engine. `Engine` is what server, `LLM` and command line see; `Core` is what the front sees of the core.

What crosses the second one is plain data, so that the core may live in another process: a `CoreRequest` goes down, one list of
`SequenceOutput` for each step comes up, `finish` goes down where the front finds an end that no token shows (a stop string, a reader
who left). The core ends a choice by its tokens; the front never waits for the core to hear of an end that it found itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from octavo.engine.stats import CoreStats, EngineObserver, EngineStats
from octavo.scheduler import CoreRequest, SequenceOutput

if TYPE_CHECKING:
    from octavo.engine.model_info import ModelInfo
    from octavo.engine.request_stream import RequestStream
    from octavo.multimodal import ImageProcessor
    from octavo.text.tokenizer import Tokenizer
    from octavo.types import GenerationRequest, KvBlocks

__all__ = ["Core", "CoreLimits", "Engine", "TakeOutputs"]

TakeOutputs = Callable[[Sequence[SequenceOutput]], None]


class Engine(Protocol):
    """Serves requests until it is closed or breaks. All calls on one event loop.

    Attributes:
        tokenizer: that of the model.
        info: facts of the model.
        images: prepares pictures for the model; None: it reads none.
    """

    tokenizer: Tokenizer
    info: ModelInfo
    images: ImageProcessor | None

    @property
    def dead(self) -> str | None:
        """Why no request can be served now, or None where one can."""
        ...

    @property
    def died(self) -> bool:
        """Whether a fault ended the engine: the process should end too, and say so by its exit code."""
        ...

    @property
    def max_in_flight(self) -> int:
        """Choices that keep the engine busy and are never too many: twice what runs at once, as far as the queue takes them."""
        ...

    async def start(self) -> None:
        """Start serving; requests submitted before have waited."""
        ...

    async def submit(self, request: GenerationRequest) -> RequestStream:
        """Queue a request and return the stream of its deltas. What takes a while, a grammar that is compiled, is awaited here.

        Raises:
            InvalidRequestError: it can never be served; names the field.
            QueueFullError: too many requests wait.
            EngineDeadError: the runner broke, or the engine is closing.
        """
        ...

    def stats(self) -> EngineStats:
        """A snapshot of load and counters."""
        ...

    async def kv_blocks(self) -> list[KvBlocks]:
        """The state of every KV block of each cache group, for whoever draws them. O(number of blocks)."""
        ...

    def add_observer(self, observer: EngineObserver) -> None:
        """Tell `observer` of everything that happens to requests from now on."""
        ...

    async def wait_dead(self) -> str:
        """Wait until nothing can be served any more, for good, and return why. An engine that is closed in health never returns."""
        ...

    async def close(self, drain_s: float = 0.0) -> None:
        """Refuse what is new, give what runs `drain_s` seconds to finish, abort the rest, close the core.

        Every caller returns when that is done; the first one's `drain_s` counts. A caller that is cancelled does not stop it.
        """
        ...


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """What a core takes.

    Attributes:
        max_sequence_length: most tokens of a sequence, prompt and output, as far as context window and KV cache go.
        max_prompt_length: most tokens of a prompt whose vectors are asked for: no output follows it.
        max_running: most choices that run at once.
        max_waiting: most choices that wait.
        max_beam_lengths: most tokens of each beam, prompt and output, of a search with 1, 2, 3, ... beams; it has no more than entries.
    """

    max_sequence_length: int
    max_prompt_length: int
    max_running: int
    max_waiting: int
    max_beam_lengths: tuple[int, ...] = ()


class Core(Protocol):
    """Computes requests in tokens. Several fronts may share one.

    Attributes:
        limits: what it takes; another one after a runner was built again.
        dead: why it computes nothing now, or None. Whoever reads it finds that every choice has had an output with finish reason ERROR.
        died: whether it computes nothing any more, for good.
    """

    @property
    def limits(self) -> CoreLimits: ...

    @property
    def dead(self) -> str | None: ...

    @property
    def died(self) -> bool: ...

    async def start(self, take: TakeOutputs) -> None:
        """Start computing; `take` is called with what each step made, on the event loop, before the next one is planned."""
        ...

    async def add(self, request: CoreRequest) -> None:
        """Queue a request, once its grammar is compiled. Its outputs may come before this returns.

        Raises:
            InvalidRequestError: its grammar cannot be used; names the request's `grammar_field`.
            QueueFullError: too many choices wait.
            EngineDeadError: see `dead`.
        """
        ...

    def finish(self, request_id: str, choice: int | None = None) -> None:
        """Compute a choice, or all of the request, no further; its outputs may come for a while yet. Idempotent, and nothing happens where
        it has ended. Also ends a request that is still being added."""
        ...

    def stats(self) -> CoreStats:
        """A snapshot."""
        ...

    async def kv_blocks(self) -> list[KvBlocks]:
        """See `Engine.kv_blocks`."""
        ...

    async def wait_dead(self) -> str:
        """See `Engine.wait_dead`."""
        ...

    async def close(self) -> None:
        """End what is left, close the runner. No output comes after this returns. Idempotent."""
        ...
