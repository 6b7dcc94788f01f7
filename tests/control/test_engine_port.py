"""The cut between front and core: plain data crosses it, so that the core may live anywhere; nothing is late in one process."""

from __future__ import annotations

import asyncio
import pickle
import threading

import pytest

from fakes.fake_engine import ask, collect, fake_engine, text_of
from fakes.fake_runner import FakeRunner
from fakes.fake_tokenizer import FakeTokenizer
from octavo.engine import AsyncEngine
from octavo.errors import InvalidRequestError
from octavo.structured import GrammarCompiler
from octavo.types import FinishReason, GenerationRequest, SamplingParams


class DistantCore:
    """A core behind a wire: everything that crosses is bytes, and what the front says arrives three turns of the event loop late."""

    def __init__(self, core) -> None:
        self._core = core

    def __getattr__(self, name: str):
        return getattr(self._core, name)

    async def start(self, take) -> None:
        await self._core.start(lambda outputs: take(pickle.loads(pickle.dumps(outputs))))

    async def add(self, request) -> None:
        await self._core.add(pickle.loads(pickle.dumps(request)))

    def finish(self, request_id: str, choice: int | None = None) -> None:
        self._later(3, request_id, choice)

    def _later(self, turns: int, *finished) -> None:
        if turns == 0:
            self._core.finish(*finished)
        else:
            asyncio.get_running_loop().call_soon(self._later, turns - 1, *finished)


@pytest.fixture
async def distant(start_engine):
    """A started engine whose core is behind a wire."""

    async def start(runner: FakeRunner | None = None, **options) -> AsyncEngine:
        near = await start_engine(runner, **options)
        engine = fake_engine(runner, **options)
        engine.core = DistantCore(near.core)
        near.core._loop_task.cancel()
        near.core._loop_task = None
        await engine.start()
        return engine

    return start


def draws(runner: FakeRunner) -> int:
    return sum(sum(plan.draws) for plan in runner.plans)


REQUESTS = [
    {"max_tokens": 12, "n": 3, "seed": 5, "temperature": 1.0},
    {"max_tokens": 9, "logprobs": 2, "prompt_logprobs": 1, "prompt": "x" * 70},
    {"max_tokens": 30, "stop_token_ids": tuple(range(0, 256, 8))},
    {"max_tokens": 30, "stop": ("a", "e", "i")},
]


async def test_a_core_behind_a_wire_gives_the_same_deltas(start_engine, distant):
    for params in REQUESTS:
        near, far = [await collect(await start(), ask(**params)) for start in (start_engine, distant)]
        for index in range(params.get("n", 1)):
            assert [delta for delta in near if delta.index == index] == [delta for delta in far if delta.index == index]


async def test_a_stop_string_costs_one_token_here_and_a_few_behind_a_wire(start_engine, distant):
    for start, most in ((start_engine, 4), (distant, 7)):
        runner = FakeRunner(script=[*b"abcdefghijklmnopqrstuvwxyz"], delay_s=0.0)
        engine = await start(runner)
        deltas = await collect(engine, ask(max_tokens=26, stop=("c",)))
        assert (text_of(deltas), deltas[-1].stop_reason) == ("ab", "c")
        await asyncio.sleep(0.01)
        assert 4 <= draws(runner) <= most and not runner.rows


async def test_outputs_that_come_late_are_nobody_elses(distant):
    """The second request has the first one's name, and the core does not know yet that the first is over."""
    engine = await distant(FakeRunner(script=[*b"abcdefgh"]))
    first = await engine.submit(ask("same", max_tokens=None))
    await anext(first)
    first.abort()
    deltas = await collect(engine, ask("same", max_tokens=4))
    assert text_of(deltas) == "abcd" and deltas[-1].finish_reason is FinishReason.LENGTH


async def test_a_fault_with_the_last_token_ends_the_request(start_engine):
    engine = await start_engine()

    class Broken:
        def push(self, token_ids):
            raise ZeroDivisionError("bad piece")

    engine.tokenizer.detokenizer = lambda skip_special_tokens: Broken()
    [delta] = await asyncio.wait_for(collect(engine, ask("a", max_tokens=1)), 5)
    assert delta.finish_reason is FinishReason.ERROR and "bad piece" in delta.error


# ---- grammars are compiled before anything is queued ------------------------------------------------------------------------------


class SlowCompiler(GrammarCompiler):
    """Compiles when it is told to."""

    def __init__(self) -> None:
        super().__init__(FakeTokenizer(), FakeTokenizer.vocab_size)
        self.go = threading.Event()

    def check(self, grammar: str, field: str) -> None:
        assert self.go.wait(10)
        super().check(grammar, field)


def constrained(grammar: str = "start: /a+/", field: str = "grammar") -> GenerationRequest:
    params = SamplingParams(max_tokens=4, grammar=grammar)
    return GenerationRequest("g", FakeTokenizer().encode("hi"), params, grammar_field=field)


async def test_a_grammar_that_cannot_be_used_is_refused_before_it_is_queued(start_engine):
    engine = await start_engine(grammars=GrammarCompiler(FakeTokenizer(), FakeTokenizer.vocab_size))
    with pytest.raises(InvalidRequestError, match="response_format: the grammar cannot be used") as refusal:
        await engine.submit(constrained("start: missing", "response_format"))
    assert refusal.value.param == "response_format"
    assert engine.stats().steps == 0 and engine.core.engine_core.scheduler.num_waiting_sequences == 0
    assert await collect(engine, ask("g", max_tokens=1))  # its name is free


async def test_an_engine_without_grammars_says_so(start_engine):
    with pytest.raises(InvalidRequestError, match="structured output is not served"):
        await (await start_engine()).submit(constrained())


async def test_others_run_while_a_grammar_is_compiled(start_engine):
    compiler = SlowCompiler()
    engine = await start_engine(grammars=compiler)
    submitted = asyncio.create_task(engine.submit(constrained()))
    assert (await collect(engine, ask("other", max_tokens=3)))[-1].finish_reason is FinishReason.LENGTH
    assert not submitted.done()
    compiler.go.set()
    assert [delta async for delta in await submitted][-1].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("cancelled", [True, False], ids=["its caller leaves", "the engine closes"])
async def test_a_request_that_ends_while_its_grammar_is_compiled_is_never_queued(start_engine, cancelled: bool):
    compiler = SlowCompiler()
    runner = FakeRunner()
    engine = await start_engine(runner, grammars=compiler)
    submitted = asyncio.create_task(engine.submit(constrained()))
    await asyncio.sleep(0.01)
    if cancelled:
        submitted.cancel()
    else:
        await engine.close()
    compiler.go.set()
    if cancelled:
        with pytest.raises(asyncio.CancelledError):
            await submitted
    else:
        assert [delta.finish_reason async for delta in await submitted] == [FinishReason.ABORT]
    assert not runner.plans and not engine.core.engine_core.scheduler.has_work
