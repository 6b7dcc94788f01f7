"""The life of a request through `AsyncEngine`, over the fake runner."""

from __future__ import annotations

import asyncio

import pytest

from fakes.fake_engine import ask, collect, fake_engine, text_of
from fakes.fake_runner import FakeRunner, fake_output
from fakes.fake_tokenizer import EOS, FakeTokenizer
from octavo.errors import EngineDeadError, InvalidRequestError, QueueFullError
from octavo.step import RowSampling
from octavo.types import FinishReason, GenerationRequest, SamplingParams


def tokens_of(deltas, index: int = 0) -> list[int]:
    return [token_id for delta in deltas if delta.index == index for token_id in delta.token_ids]


def scripted(text: str, **options) -> FakeRunner:
    return FakeRunner(script=[*text.encode()], **options)


async def test_a_request_streams_its_tokens_and_ends_with_length(start_engine):
    engine = await start_engine()
    deltas = await collect(engine, ask(prompt="hello", max_tokens=6, temperature=0.0))
    assert tokens_of(deltas) == fake_output(FakeTokenizer().encode("hello"), 6, vocab_size=EOS - 1)
    assert [delta.finish_reason for delta in deltas] == [None] * 5 + [FinishReason.LENGTH]
    assert text_of(deltas) == FakeTokenizer().decode(tokens_of(deltas))
    stats = engine.stats()
    assert (stats.prompt_tokens, stats.generation_tokens, stats.finished) == (6, 6, {FinishReason.LENGTH: 1})


async def test_max_tokens_none_fills_the_context(start_engine):
    engine = await start_engine(max_model_len=30)
    deltas = await collect(engine, ask(prompt="hello", max_tokens=None))
    assert len(tokens_of(deltas)) == 30 - 6


async def test_end_of_sequence_ends_the_choice_without_text(start_engine):
    engine = await start_engine(FakeRunner(script=[72, 105, EOS, 33]))
    deltas = await collect(engine, ask(max_tokens=10, skip_special_tokens=False))
    assert (text_of(deltas), tokens_of(deltas)) == ("Hi", [72, 105, EOS])
    assert (deltas[-1].finish_reason, deltas[-1].stop_reason) == (FinishReason.STOP, None)


async def test_ignore_eos_goes_on(start_engine):
    engine = await start_engine(FakeRunner(script=[72, EOS, 105]))
    deltas = await collect(engine, ask(max_tokens=3, ignore_eos=True))
    assert (text_of(deltas), deltas[-1].finish_reason) == ("Hi", FinishReason.LENGTH)


async def test_a_stop_token_is_named_as_the_reason(start_engine):
    engine = await start_engine(scripted("abc"))
    deltas = await collect(engine, ask(max_tokens=9, stop_token_ids=(ord("b"),)))
    assert (text_of(deltas), deltas[-1].stop_reason) == ("a", ord("b"))
    deltas = await collect(engine, ask(max_tokens=9, stop_token_ids=(ord("b"),), include_stop_str_in_output=True))
    assert text_of(deltas) == "ab"


@pytest.mark.parametrize(("include", "text"), [(False, "one "), (True, "one END")])
async def test_a_stop_string_across_tokens(start_engine, include: bool, text: str):
    engine = await start_engine(scripted("one END two"))
    deltas = await collect(engine, ask(max_tokens=30, stop=("END",), include_stop_str_in_output=include))
    assert text_of(deltas) == text
    assert (deltas[-1].finish_reason, deltas[-1].stop_reason) == (FinishReason.STOP, "END")
    assert bytes(tokens_of(deltas)) == b"one END"  # the tokens up to the match


async def test_text_held_back_comes_at_the_end(start_engine):
    engine = await start_engine(scripted("so EN"))
    deltas = await collect(engine, ask(max_tokens=5, stop=("END",)))
    assert text_of(deltas) == "so EN" and deltas[-1].text == "EN"
    assert deltas[-1].finish_reason is FinishReason.LENGTH


async def test_min_tokens_delays_stop_strings_and_end_of_sequence(start_engine):
    engine = await start_engine(scripted("XXaXb"))
    deltas = await collect(engine, ask(max_tokens=9, min_tokens=3, stop=("X",)))
    assert text_of(deltas) == "XXa"
    runner = FakeRunner(eos_token_id=EOS, eos_period=1)
    engine = await start_engine(runner)
    deltas = await collect(engine, ask(max_tokens=9, min_tokens=4))
    assert len(tokens_of(deltas)) == 5 and tokens_of(deltas)[-1] == EOS
    assert runner.plans[0].started[0].sampling.blocked_until_min == (EOS,)


async def test_a_character_is_never_split(start_engine):
    engine = await start_engine(scripted("aé€😀"))
    deltas = await collect(engine, ask(max_tokens=10))
    assert [delta.text for delta in deltas if delta.text] == ["a", "é", "€", "😀"]
    engine = await start_engine(scripted("😀"))
    deltas = await collect(engine, ask(max_tokens=2))
    assert text_of(deltas) == "\ufffd" and deltas[-1].finish_reason is FinishReason.LENGTH


async def test_logprobs_one_per_token(start_engine):
    engine = await start_engine()
    deltas = await collect(engine, ask(max_tokens=4, logprobs=0))
    entries = [entry for delta in deltas for entry in delta.logprobs]
    assert [entry.token_id for entry in entries] == tokens_of(deltas)
    assert all(delta.logprobs is None for delta in await collect(engine, ask(max_tokens=4)))


async def test_prompt_logprobs_on_the_first_delta_of_choice_0(start_engine):
    engine = await start_engine()
    prompt = "x" * 70  # three chunks
    deltas = await collect(engine, ask(prompt=prompt, max_tokens=2, n=2, prompt_logprobs=0))
    first, *rest = [delta for delta in deltas if delta.index == 0]
    assert first.prompt_logprobs[0] is None
    assert [entry.token_id for entry in first.prompt_logprobs[1:]] == [*prompt.encode()]
    assert all(delta.prompt_logprobs is None for delta in deltas if delta is not first)
    assert rest[-1].finish_reason is FinishReason.LENGTH
    [single] = await collect(engine, GenerationRequest("b", [65], SamplingParams(max_tokens=1, prompt_logprobs=0)))
    assert single.prompt_logprobs == [None]


async def test_choices_differ_and_each_ends(start_engine):
    engine = await start_engine()
    request = ask(max_tokens=5, n=3, temperature=1.0, seed=11)
    deltas = await collect(engine, request)
    for index in range(3):
        sampling = RowSampling(temperature=1.0, seed=11, choice=index)
        assert tokens_of(deltas, index) == fake_output(request.prompt_token_ids, 5, sampling, EOS - 1)
        assert [delta.finish_reason for delta in deltas if delta.index == index][-1] is FinishReason.LENGTH
    assert engine.stats().finished == {FinishReason.LENGTH: 3}


async def test_seeds_are_drawn_from_the_engines_seed(start_engine):
    async def outputs(engine_seed: int, **params) -> list[list[int]]:
        engine = await start_engine(seed=engine_seed)
        return [tokens_of(await collect(engine, ask(max_tokens=8, temperature=1.0, **params))) for _ in range(2)]

    once, again, other = await outputs(5), await outputs(5), await outputs(6)
    assert once == again and once[0] != once[1] and once != other
    named = await outputs(5, seed=-3)
    assert named[0] == named[1] == (await outputs(6, seed=-3))[0]


async def test_many_requests_do_not_disturb_each_other(start_engine):
    engine = await start_engine(num_blocks=24, max_waiting=100)  # too few blocks: some are preempted
    requests = [ask(f"r{i}", prompt=f"prompt {i}" * (1 + i % 3), max_tokens=20 + i % 7, temperature=0.0) for i in range(30)]
    answers = await asyncio.gather(*(collect(engine, request) for request in requests))
    for request, deltas in zip(requests, answers, strict=True):
        assert tokens_of(deltas) == fake_output(request.prompt_token_ids, request.params.max_tokens, vocab_size=EOS - 1)
    assert engine.stats().preemptions > 0 and engine.stats().kv_usage == 0


async def test_cached_prompt_tokens_are_reported(start_engine):
    engine = await start_engine()
    await collect(engine, ask(prompt="a long enough prompt", max_tokens=1))
    deltas = await collect(engine, ask(prompt="a long enough prompt", max_tokens=2))
    assert [delta.num_cached_tokens for delta in deltas] == [20, 20]  # 21 tokens: 5 full blocks of 4
    assert engine.stats().cached_prompt_tokens == 20
    salted = GenerationRequest("s", FakeTokenizer().encode("a long enough prompt"), SamplingParams(max_tokens=1), cache_salt="mine")
    assert (await collect(engine, salted))[0].num_cached_tokens == 0


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (GenerationRequest("a", [], SamplingParams()), "prompt"),
        (GenerationRequest("a", [1, 258], SamplingParams()), "prompt"),
        (GenerationRequest("a", [-1], SamplingParams()), "prompt"),
        (GenerationRequest("a", [1] * 200, SamplingParams()), "prompt"),
        (GenerationRequest("a", [1] * 190, SamplingParams(max_tokens=11)), "max_tokens"),
        (GenerationRequest("a", [1] * 190, SamplingParams(max_tokens=None, min_tokens=11)), "min_tokens"),
        (GenerationRequest("a", [1], SamplingParams(logit_bias={258: 1.0})), "logit_bias"),
        (GenerationRequest("a", [1], SamplingParams(allowed_token_ids=(3, 999))), "allowed_token_ids"),
        (GenerationRequest("a", [1], SamplingParams(stop_token_ids=(-2,))), "stop_token_ids"),
    ],
)
async def test_what_cannot_be_served_names_its_field(request_: GenerationRequest, param: str):
    with pytest.raises(InvalidRequestError) as caught:
        await fake_engine().submit(request_)
    assert caught.value.param == param


async def test_a_request_larger_than_the_cache_is_refused(start_engine):
    engine = await start_engine(num_blocks=10)  # 40 tokens
    with pytest.raises(InvalidRequestError, match="kv-cache-bytes"):
        await engine.submit(ask(prompt="x" * 30, max_tokens=20))
    assert len(tokens_of(await collect(engine, ask(prompt="x" * 30, max_tokens=None)))) == 10


async def test_a_live_request_id_is_refused_and_free_afterwards(start_engine):
    engine = await start_engine()
    stream = await engine.submit(ask("same", max_tokens=4))
    with pytest.raises(InvalidRequestError, match="same"):
        await engine.submit(ask("same"))
    assert [delta async for delta in stream]
    assert await collect(engine, ask("same", max_tokens=1))


async def test_bad_words_are_barred_with_and_without_a_space(start_engine):
    runner = FakeRunner()
    engine = await start_engine(runner)
    await collect(engine, ask(max_tokens=1, bad_words=("no", "no"), logit_bias={3: 5.0}))
    sampling = runner.plans[0].started[0].sampling
    assert sampling.bad_words == (tuple(b"no"), tuple(b" no")) and sampling.logit_bias == ((3, 5.0),)


async def test_prompts_are_cut_to_the_time_of_a_step_while_somebody_decodes(start_engine):
    runner = FakeRunner(vocab_size=EOS - 1, start_ms=10.0, token_ms=1.0)
    engine = await start_engine(runner, num_blocks=600, max_model_len=1000, max_num_batched_tokens=256, max_step_ms=100.0)
    async with await engine.submit(ask("first", prompt="x" * 200, max_tokens=60)) as stream:
        await anext(stream)  # nobody else was there: its prompt was one chunk
        others = [asyncio.create_task(collect(engine, ask(f"r{i}", prompt=str(i) * 500, max_tokens=1))) for i in range(2)]
        deltas = [delta async for delta in stream]
    await asyncio.gather(*others)
    mixed = [sum(plan.num_scheduled_tokens) for plan in runner.plans if len(plan.rows) > 1]
    assert runner.plans[0].num_scheduled_tokens == [201] and deltas[-1].finish_reason is FinishReason.LENGTH
    assert all(80 <= num_tokens <= 90 for num_tokens in mixed[4:-1]) and max(mixed) <= 95  # 105 ms


async def test_the_queue_is_bounded():
    engine = fake_engine(max_waiting=2)  # not started: everything waits
    streams = [await engine.submit(ask(name)) for name in "ab"]
    with pytest.raises(QueueFullError, match="max-waiting"):
        await engine.submit(ask("c"))
    streams[0].abort()
    await engine.submit(ask("c"))
    await engine.close()


async def test_the_queue_counts_choices_and_takes_a_large_request_when_it_is_empty():
    engine = fake_engine(max_waiting=10)
    large = await engine.submit(ask("large", n=20))
    with pytest.raises(QueueFullError, match="20 choices wait already, of 10"):
        await engine.submit(ask("a"))
    large.abort()
    for name in "ab":
        await engine.submit(ask(name, n=4))
    with pytest.raises(QueueFullError):
        await engine.submit(ask("c", n=3))
    await engine.submit(ask("c", n=2))
    await engine.close()


async def test_the_queue_counts_prompt_tokens_where_it_is_told_to():
    engine = fake_engine(max_waiting_tokens=20)
    large = await engine.submit(ask("large", "x" * 100))  # none waited
    with pytest.raises(QueueFullError, match=r"prompts of \d+ tokens wait already, of 20; .* --max-waiting-tokens"):
        await engine.submit(ask("a", "x"))
    large.abort()
    for name in "ab":
        await engine.submit(ask(name, "x" * 8, n=3))
    with pytest.raises(QueueFullError):
        await engine.submit(ask("c", "x" * 8))
    await engine.submit(ask("c", "x"))
    await engine.close()


async def test_the_output_side_of_a_choice_is_made_when_it_starts_and_shares_the_stop_strings():
    engine = fake_engine(max_waiting=1000)
    made = []
    make = engine.tokenizer.detokenizer
    engine.tokenizer.detokenizer = lambda skip_special_tokens: made.append(1) or make(skip_special_tokens)
    stream = await engine.submit(ask("a", n=128, stop=("x" * 4000,), max_tokens=100))
    assert not made
    await engine.start()
    await anext(stream)
    assert 1 <= len(made) <= 8  # as many as run
    await engine.close()


async def test_close_drains_what_runs_and_refuses_what_is_new(start_engine):
    runner = FakeRunner(delay_s=0.001)
    engine = await start_engine(runner)
    reading = asyncio.create_task(collect(engine, ask(max_tokens=20)))
    await asyncio.sleep(0.005)
    closing = asyncio.create_task(engine.close(drain_s=10))
    await asyncio.sleep(0)
    with pytest.raises(EngineDeadError, match="shutting down"):
        await engine.submit(ask("b"))
    assert (await reading)[-1].finish_reason is FinishReason.LENGTH
    await closing
    assert runner.closed


async def test_close_aborts_what_does_not_finish_in_time(start_engine):
    engine = await start_engine(FakeRunner(delay_s=0.01))
    reading = asyncio.create_task(collect(engine, ask(max_tokens=None)))
    await asyncio.sleep(0.005)
    await engine.close(drain_s=0.005)
    assert (await reading)[-1].finish_reason is FinishReason.ABORT
