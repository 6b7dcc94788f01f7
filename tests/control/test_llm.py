"""The offline front door over a whole engine with the fake runner."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fakes.fake_engine import fake_engine
from fakes.fake_tokenizer import FakeTokenizer
from octavo.errors import InvalidRequestError
from octavo.llm import LLM
from octavo.types import FinishReason, SamplingParams

SHORT = SamplingParams(max_tokens=5, seed=1)


@pytest.fixture
def llm() -> Iterator[LLM]:
    with LLM.from_engine(fake_engine(max_waiting=4)) as llm:
        yield llm


def test_outputs_come_in_the_order_of_the_prompts(llm: LLM):
    """More prompts than the queue takes at once."""
    prompts = [f"prompt {index}" for index in range(20)]
    outputs = llm.generate(prompts, SHORT)
    assert [output.prompt for output in outputs] == prompts
    assert [output.prompt_token_ids for output in outputs] == [FakeTokenizer().encode(prompt) for prompt in prompts]
    assert all(len(output.outputs[0].token_ids) == 5 for output in outputs)
    assert {output.outputs[0].finish_reason for output in outputs} == {"length"}


def test_a_prompt_is_a_text_or_token_ids_or_a_list_of_either(llm: LLM):
    token_ids = FakeTokenizer().encode("hello")
    texts = [llm.generate(prompt, SHORT)[0].outputs[0].text for prompt in ("hello", token_ids, ["hello"], [token_ids])]
    assert len(set(texts)) == 1
    assert llm.generate([], SHORT) == []


def test_each_prompt_may_have_its_own_params(llm: LLM):
    outputs = llm.generate(["a", "b"], [SamplingParams(max_tokens=2), SamplingParams(max_tokens=3, n=2)])
    assert [[len(choice.token_ids) for choice in output.outputs] for output in outputs] == [[2], [3, 3]]
    with pytest.raises(InvalidRequestError, match="1 sampling_params for 2 prompts"):
        llm.generate(["a", "b"], [SHORT])


def test_a_refused_prompt_gives_up_the_others_and_leaves_the_engine_whole(llm: LLM):
    with pytest.raises(InvalidRequestError) as refusal:
        llm.generate(["fine", [10**6]], SamplingParams(max_tokens=50))
    assert refusal.value.param == "prompt"
    assert len(llm.generate("again", SHORT)[0].outputs[0].token_ids) == 5
    assert llm.engine.stats().num_running == 0


def test_a_stream_gives_what_generate_gives_and_may_be_left_early(llm: LLM):
    whole = llm.generate("hello", SHORT)[0].outputs[0]
    deltas = list(llm.stream("hello", SHORT))
    assert "".join(delta.text for delta in deltas) == whole.text
    assert deltas[-1].finish_reason is FinishReason.LENGTH
    stream = llm.stream("hello", SamplingParams(max_tokens=100))
    next(stream)
    stream.close()
    assert len(llm.generate("again", SHORT)) == 1
    assert llm.engine.stats().num_running == 0


def test_several_threads_share_one(llm: LLM):
    found: dict[int, int] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: len(llm.generate("p", SHORT))})) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {0: 1, 1: 1, 2: 1}


def test_the_progress_bar_goes_to_standard_error_only(llm: LLM, capsys):
    llm.generate(["a", "b"], SHORT, progress=True)
    shown = capsys.readouterr()
    assert "2/2" in shown.err
    assert shown.out == ""
    llm.generate("a", SHORT, progress=False)
    assert capsys.readouterr().err == ""


def test_closing_twice_is_once_and_ends_the_thread():
    llm = LLM.from_engine(fake_engine())
    llm.close()
    llm.close()
    assert "octavo-engine" not in {thread.name for thread in threading.enumerate()}
