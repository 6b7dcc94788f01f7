"""A whole engine over the fake runner and the toy tokenizer: real scheduler, real cache, real output processing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fakes.fake_runner import FakeRunner
from fakes.fake_tokenizer import EOS, FakeTokenizer
from octavo.cache import BlockGroup, BlockManager
from octavo.engine import AsyncEngine, EngineCore, EngineObserver, LocalCore, ModelInfo, StepPace
from octavo.engine.watchdog import Watchdog
from octavo.scheduler import Scheduler, SchedulerLimits
from octavo.structured import GrammarCompiler
from octavo.types import Delta, GenerationRequest, SamplingParams

__all__ = ["ask", "collect", "fake_engine", "text_of"]


def fake_engine(
    runner: FakeRunner | None = None,
    *,
    num_blocks: int = 64,
    max_num_seqs: int = 8,
    max_num_batched_tokens: int = 32,
    max_model_len: int = 200,
    max_waiting: int = 16,
    max_waiting_tokens: int | None = None,
    seed: int = 1,
    log_stats_s: float = 0.0,
    observers: Iterable[EngineObserver] = (),
    clock: Callable[[], float] = lambda: 0.0,
    max_step_ms: float = 0.0,
    watchdog: Watchdog | None = None,
    new_runner: Callable[[], FakeRunner] | None = None,
    grammars: GrammarCompiler | None = None,
) -> AsyncEngine:
    """Not started yet. Its runner is the one given, or one that never draws the end of the sequence; `new_runner` replaces a broken one."""
    runner = runner or FakeRunner(vocab_size=EOS - 1)
    limits = SchedulerLimits(max_num_seqs, max_num_batched_tokens, 32, max_model_len)

    def scheduler() -> Scheduler:
        return Scheduler(limits, BlockManager([BlockGroup(num_blocks)], 4, hash_seed=1))

    pace = StepPace(max_step_ms, max_num_batched_tokens)
    rebuild = None if new_runner is None else lambda: (scheduler(), new_runner())
    engine_core = EngineCore(scheduler(), runner, pace=pace, watchdog=watchdog, clock=clock)
    core = LocalCore(engine_core, max_waiting=max_waiting, max_waiting_tokens=max_waiting_tokens, rebuild=rebuild, grammars=grammars)
    info = ModelInfo("toy", "/models/toy", max_model_len, FakeTokenizer.vocab_size, created=0)
    return AsyncEngine(core, FakeTokenizer(), info, seed=seed, log_stats_s=log_stats_s, observers=observers, clock=clock)


def ask(request_id: str = "a", prompt: str = "hello", priority: int = 0, **params: object) -> GenerationRequest:
    """A request of the toy tokenizer."""
    return GenerationRequest(request_id, FakeTokenizer().encode(prompt), SamplingParams(**params), priority)  # type: ignore[arg-type]


async def collect(engine: AsyncEngine, request: GenerationRequest) -> list[Delta]:
    """Every delta of a request."""
    async with await engine.submit(request) as stream:
        return [delta async for delta in stream]


def text_of(deltas: list[Delta], index: int = 0) -> str:
    """The text of one choice."""
    return "".join(delta.text for delta in deltas if delta.index == index)
