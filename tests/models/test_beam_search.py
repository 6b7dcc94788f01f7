"""Beam search through the whole engine gives the texts that transformers' `generate(num_beams=...)` gives, with their scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from make_tiny_checkpoint import make_tiny_checkpoint

from octavo import LLM, BeamSearchParams, SamplingParams
from octavo.errors import InvalidRequestError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PROMPTS = [list(range(5, 43)), [7, 7, 9], [11] * 16]
ENDS = tuple(range(60, 90))  # a random model ends a text at one of so many tokens soon
NUM_TOKENS = 24


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(request.param, tmp_path_factory.mktemp("beams"))


@pytest.fixture(scope="module")
def llm(folder: Path) -> Iterator[LLM]:
    with LLM(str(folder), max_num_seqs=8, arithmetic="exact") as made:
        yield made


@pytest.fixture(scope="module")
def reference(folder: Path):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize(
    ("width", "length_penalty", "early_stopping"),
    [(1, 1.0, False), (3, 1.0, False), (4, 0.0, True), (4, 2.0, "never"), (2, -1.0, False), (8, 1.0, True)],
)
def test_texts_and_scores_are_those_of_transformers(llm: LLM, reference, width: int, length_penalty: float, early_stopping) -> None:
    wanted = SamplingParams(
        n=width, beam_width=width, max_tokens=NUM_TOKENS, length_penalty=length_penalty, early_stopping=early_stopping,
        ignore_eos=True, stop_token_ids=ENDS, logprobs=0,
    )  # fmt: skip
    outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in PROMPTS], wanted)
    for prompt, output in zip(PROMPTS, outputs, strict=True):
        made = reference.generate(
            torch.tensor([prompt]), num_beams=width, num_return_sequences=width, max_new_tokens=NUM_TOKENS, do_sample=False,
            length_penalty=length_penalty, early_stopping=early_stopping, eos_token_id=list(ENDS), pad_token_id=0,
            output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
        for index, choice in enumerate(output.outputs):
            expected = made.sequences[index, len(prompt) :].tolist()[: len(choice.token_ids)]
            assert choice.token_ids == expected
            assert choice.finish_reason == ("stop" if choice.token_ids[-1] in ENDS else "length")
            if width > 1:
                score = choice.cumulative_logprob / len(choice.token_ids) ** length_penalty
                assert score == pytest.approx(made.sequences_scores[index].item(), abs=1e-3)
    ended = any(len(choice.token_ids) < NUM_TOKENS for output in outputs for choice in output.outputs)
    if reference.config.model_type == "llama" and width > 1 and length_penalty <= 1:  # the tiny Gemma repeats one token
        assert ended


def test_searches_share_an_engine_with_others_and_leave_nothing(llm: LLM) -> None:
    beams = SamplingParams(n=2, beam_width=3, max_tokens=20)
    alone = llm.generate([{"prompt_token_ids": PROMPTS[0]}], beams)[0]
    drawn = SamplingParams(max_tokens=20, temperature=0.0)
    outputs = llm.generate(
        [{"prompt_token_ids": prompt} for prompt in [PROMPTS[0], *PROMPTS, PROMPTS[0]]], [beams, drawn, drawn, drawn, beams]
    )
    for output in (outputs[0], outputs[4]):
        assert [choice.token_ids for choice in output.outputs] == [choice.token_ids for choice in alone.outputs]
    stats = llm.engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.kv_usage) == (0, 0, 0)


def test_a_stream_gets_the_texts_at_the_end(llm: LLM) -> None:
    params = SamplingParams(n=2, beam_width=4, max_tokens=8, logprobs=2)
    deltas = list(llm.stream({"prompt_token_ids": PROMPTS[0]}, params))
    assert [(delta.index, delta.finish_reason is not None) for delta in deltas] == [(0, True), (1, True)]
    assert all(len(delta.logprobs) == len(delta.token_ids) and len(delta.logprobs[0].top) == 2 for delta in deltas)


def test_scripts_that_call_beam_search_run(llm: LLM) -> None:
    text, ids = llm.beam_search(["abc", {"prompt_token_ids": PROMPTS[0]}], BeamSearchParams(beam_width=3, max_tokens=6))
    assert [len(output.sequences) for output in (text, ids)] == [3, 3]
    best = ids.sequences[0]
    [plain] = llm.generate({"prompt_token_ids": PROMPTS[0]}, SamplingParams(n=3, beam_width=3, max_tokens=6, logprobs=0))
    assert best.tokens == PROMPTS[0] + plain.outputs[0].token_ids
    assert best.cum_logprob == pytest.approx(plain.outputs[0].cumulative_logprob)
    assert best.text.endswith(plain.outputs[0].text) and best.finish_reason == plain.outputs[0].finish_reason
    assert text.sequences[0].text.startswith("abc")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"beam_width": 0}, "beam_width"),
        ({"beam_width": 33}, "beam_width"),
        ({"beam_width": 9}, "beam_width"),  # of 8 rows
        ({"beam_width": 2, "n": 3}, "n"),
        ({"beam_width": 2, "stop": "a"}, "stop"),
        ({"beam_width": 2, "repetition_penalty": 1.1}, "repetition_penalty"),
        ({"beam_width": 2, "length_penalty": 1e6}, "length_penalty"),
        ({"beam_width": 2, "stop_token_ids": range(100)}, "stop_token_ids"),
        ({"length_penalty": 2.0}, "length_penalty"),
        ({"early_stopping": True}, "early_stopping"),
    ],
)
def test_what_a_search_cannot_do_is_refused_by_name(llm: LLM, asked: dict, field: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        llm.generate("a", SamplingParams(**asked))
    assert refusal.value.param == field
