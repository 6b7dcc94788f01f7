"""Beams whatever they share the engine with: the texts of a search are those of a plain search without any engine, and nothing leaks."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from hypothesis import event, given, settings
from hypothesis import strategies as st

from fakes.fake_runner import fake_best_tokens
from fakes.step_driver import StepDriver
from octavo.scheduler import BeamParams, SequenceGroup

VOCAB_SIZE = 64
BLOCK_SIZE = 4


@dataclass(frozen=True)
class Search:
    at_step: int
    prompt: list[int]
    width: int
    end_token_ids: frozenset[int]
    max_tokens: int
    min_tokens: int
    params: BeamParams
    abort_after: int | None


@dataclass(frozen=True)
class Plain:
    at_step: int
    prompt: list[int]
    max_tokens: int


prompts = st.builds(lambda shared, own: [*range(shared), *own], st.integers(0, 13), st.lists(st.integers(0, 3), min_size=1, max_size=6))


@st.composite
def searches(draw: st.DrawFn) -> Search:
    width = draw(st.integers(1, 4))
    return Search(
        at_step=draw(st.integers(0, 8)),
        prompt=draw(prompts),
        width=width,
        end_token_ids=frozenset(draw(st.sets(st.integers(0, VOCAB_SIZE - 1), max_size=6))),
        max_tokens=draw(st.integers(1, 10)),
        min_tokens=draw(st.integers(0, 1)),
        params=BeamParams(
            num_wanted=draw(st.integers(1, width)),
            length_penalty=draw(st.sampled_from([1.0, 0.0, -1.5, 2.0])),
            early_stopping=draw(st.sampled_from([False, True, "never"])),
            num_reported=draw(st.sampled_from([None, 1])),
        ),
        abort_after=draw(st.none() | st.none() | st.integers(0, 9)),
    )


plain = st.builds(Plain, at_step=st.integers(0, 8), prompt=prompts, max_tokens=st.integers(1, 16))


@settings(max_examples=300, deadline=None)
@given(
    wanted=st.lists(searches(), min_size=1, max_size=4),
    others=st.lists(plain, max_size=3),
    num_blocks=st.integers(36, 60),  # four beams of 19 + 10 tokens have 32 blocks, and one to spare each
    max_num_seqs=st.integers(4, 16),
    max_num_batched_tokens=st.integers(4, 30),
    prefix_caching=st.booleans(),
    ahead=st.integers(0, 2),
    windows=st.sampled_from([(None,), (None,), (7,), (None, 5)]),
    keeps_states=st.booleans(),
)
def test_beams_are_those_of_a_search_alone(
    wanted, others, num_blocks, max_num_seqs, max_num_batched_tokens, prefix_caching, ahead, windows, keeps_states
):
    driver = StepDriver(
        num_blocks=num_blocks,
        block_size=BLOCK_SIZE,
        prefix_caching=prefix_caching,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_logits=max_num_seqs,
        ahead=ahead,
        windows=windows,
        keeps_states=keeps_states,
        vocab_size=VOCAB_SIZE,
    )
    groups: dict[int, SequenceGroup] = {}
    for step in range(max(each.at_step + (getattr(each, "abort_after", 0) or 0) for each in [*wanted, *others]) + 1):
        for each in others:
            if each.at_step == step:
                driver.add(each.prompt, each.max_tokens)
        for index, each in enumerate(wanted):
            if each.at_step == step:
                groups[index] = driver.add(
                    each.prompt, each.max_tokens, end_token_ids=each.end_token_ids, min_tokens=each.min_tokens,
                    beam_width=each.width, beams=each.params,
                )  # fmt: skip
            if each.abort_after is not None and each.at_step + each.abort_after == step:
                driver.abort(groups[index])
        driver.step()
        driver.scheduler.check_integrity()
    driver.run(max_steps=3000)
    driver.scheduler.check_integrity()
    assert not driver.runner.rows, "a row outlives its request"
    event(f"preemptions: {min(driver.scheduler.num_preemptions, 3)}")
    event(f"forks: {min(sum(len(plan.forked) for plan in driver.runner.plans), 3)}")
    for index, each in enumerate(wanted):
        found = [output for output in driver.outputs if output.request_id == groups[index].request.request_id]
        if each.abort_after is None:
            best = search_alone(each)
            assert [output.token_ids for output in found] == [tokens for _, tokens in best[: each.params.num_wanted]]
            assert [output.choice for output in found] == list(range(each.params.num_wanted))
            for output in found:
                assert output.finish_reason == ("stop" if output.token_ids[-1] in each.end_token_ids else "length")
                assert (output.logprobs is None) == (each.params.num_reported is None)
                assert [entry.token_id for entry in output.logprobs or ()] in ([], output.token_ids)


def search_alone(wanted: Search) -> list[tuple[float, list[int]]]:
    """Beam search over whole sequences, every token of the vocabulary a candidate."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    ends, params = wanted.end_token_ids, wanted.params
    num_kept = max(2, 1 + len(ends)) * wanted.width
    for length in range(1, wanted.max_tokens + 1):
        penalty = length**params.length_penalty
        grown = [
            (score + logprob, [*tokens, token_id])
            for score, tokens in beams
            for token_id, logprob in best_tokens([*wanted.prompt, *tokens])
            if token_id not in ends or length > wanted.min_tokens
        ]
        grown = sorted(grown, key=lambda beam: -beam[0])[:num_kept]
        for score, tokens in grown[: wanted.width]:
            if tokens[-1] in ends or length == wanted.max_tokens:
                finished.append((score / penalty, tokens))
        finished = sorted(finished, key=lambda beam: -beam[0])[: wanted.width]
        beams = [beam for beam in grown if beam[1][-1] not in ends][: wanted.width]
        if len(finished) == wanted.width:
            later = wanted.max_tokens if params.early_stopping == "never" and params.length_penalty > 0 else length
            if params.early_stopping is True or beams[0][0] / later**params.length_penalty <= finished[-1][0]:
                break
    return finished


def best_tokens(tokens: list[int]) -> tuple[tuple[int, float], ...]:
    tokens_hash = 0
    for token_id in tokens:
        tokens_hash = crc32(token_id.to_bytes(16, "little"), tokens_hash) or 1
    return fake_best_tokens(tokens_hash, VOCAB_SIZE, VOCAB_SIZE)
