"""Scripts written for vLLM: what changes nothing is taken, what is absent says so by name, outputs read as they expect."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest

from fakes.fake_engine import fake_engine
from fakes.fake_tokenizer import FakeTokenizer
from octavo import Logprob
from octavo.config import EngineConfig
from octavo.errors import ConfigError, InvalidRequestError
from octavo.llm import LLM
from octavo.llm_outputs import logprob_mapping
from octavo.llm_settings import engine_settings
from octavo.text.chat_template import ChatTemplate
from octavo.types import SamplingParams, TokenLogprobs

SHORT = SamplingParams(max_tokens=4, seed=1)


@pytest.fixture
def llm() -> Iterator[LLM]:
    with LLM.from_engine(fake_engine()) as llm:
        yield llm


def test_every_form_of_a_prompt(llm: LLM):
    ids = FakeTokenizer().encode("hello")
    forms = ["hello", ids, tuple(ids), np.array(ids), {"prompt": "hello"}, {"prompt_token_ids": np.array(ids)}]
    forms += [{"prompt": "hello", "prompt_token_ids": ids, "multi_modal_data": None}]
    alone = [llm.generate(form, SHORT, use_tqdm=False)[0] for form in forms]
    together = llm.generate(forms, SHORT, lora_request=None)
    assert {output.outputs[0].text for output in alone + together} == {alone[0].outputs[0].text}
    assert [output.prompt for output in together] == ["hello", None, None, None, "hello", None, "hello"]
    assert all(type(token_id) is int for token_id in together[3].prompt_token_ids)
    assert len(llm.generate(np.array([ids, ids]), SHORT)) == 2


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"multi_modal_data": {"image": 1}, "prompt": "x"}, "prompt 1 .of 3.*'multi_modal_data'"),
        ({}, "prompt 1 .of 3.*neither a text"),
        (7.5, "prompt 1 .of 3.*of type float"),
        ([1, "a"], "prompt 1 .of 3.*no whole number"),
        ([10**6], "prompt 1 .of 3.*10.*6|prompt 1 .of 3.*1000000"),
        ([], "prompt 1 .of 3"),
    ],
)
def test_a_bad_prompt_of_several_is_named(llm: LLM, bad: object, match: str):
    with pytest.raises(InvalidRequestError, match=match) as refusal:
        llm.generate(["fine", bad, "fine"], SHORT)
    assert refusal.value.param == "prompt"
    with pytest.raises(InvalidRequestError) as alone:
        llm.generate([bad], SHORT)
    assert "of 3" not in str(alone.value)


def test_outputs_read_as_vllms(llm: LLM):
    (output,) = llm.generate("hello", SamplingParams(max_tokens=3, temperature=0, logprobs=2, prompt_logprobs=1))
    choice = output.outputs[0]
    assert output.finished
    assert (type(choice.finish_reason), f"{choice.finish_reason}", json.dumps(choice.finish_reason)) == (str, "length", '"length"')
    assert len(choice.logprobs) == 3
    for token_id, position in zip(choice.token_ids, choice.logprobs, strict=True):
        assert next(iter(position)) == token_id
        assert isinstance(position[token_id], Logprob)
        assert position[token_id].rank == 1
        assert position[token_id].decoded_token == FakeTokenizer().decode([token_id])
    drawn = [position[token_id].logprob for token_id, position in zip(choice.token_ids, choice.logprobs, strict=True)]
    assert math.isclose(choice.cumulative_logprob, sum(drawn))
    assert output.prompt_logprobs[0] is None
    assert all(token_id in entry for token_id, entry in zip(output.prompt_token_ids[1:], output.prompt_logprobs[1:], strict=True))
    assert llm.generate("hello", SHORT)[0].outputs[0].cumulative_logprob is None


def test_sampling_parameters_that_ask_for_nothing():
    plain = SamplingParams(stop=("a",), stop_token_ids=(3,))
    same = SamplingParams(
        stop="a", stop_token_ids=[3], top_k=-1, bad_words=None, logit_bias=None, detokenize=True, best_of=1, logits_processors=None
    )
    assert same == plain == plain.clone()
    with pytest.raises(InvalidRequestError, match="use_beam_search is True") as refusal:
        SamplingParams(use_beam_search=True)
    assert refusal.value.param == "use_beam_search"
    with pytest.raises(InvalidRequestError, match="top_k is -2"):
        SamplingParams(top_k=-2)
    with pytest.raises(TypeError, match="temprature"):
        SamplingParams(temprature=1)


def test_settings_that_ask_for_nothing():
    neutral = {"dtype": "auto", "tensor_parallel_size": 1, "trust_remote_code": False, "gpu_memory_utilization": 0.9, "enforce_eager": True}
    neutral |= {"quantization": None, "tokenizer": None, "swap_space": 4, "enable_chunked_prefill": True}
    assert EngineConfig.of(**engine_settings("m", {**neutral, "max_model_len": 64})) == EngineConfig(model="m", max_model_len=64)
    named = engine_settings("a/b", {"revision": "v1", "enable_prefix_caching": False, "disable_log_stats": True})
    assert named == {"model": "a/b@v1", "prefix_caching": False, "log_stats_s": 0.0}
    for settings, match in [
        ({"tensor_parallel_size": 2}, "tensor_parallel_size=2 asks for something"),
        ({"trust_remote_code": True}, "trust_remote_code=True"),
        ({"max_num_seq": 2}, "did you mean 'max_num_seqs'"),
        ({"xyzzy": 2}, "no setting 'xyzzy'"),
    ]:
        with pytest.raises(ConfigError, match=match):
            engine_settings("m", settings)


def test_what_is_absent_says_so(llm: LLM):
    with pytest.raises(AttributeError, match="Octavo's LLM has no collective_rpc"):
        llm.collective_rpc("x")
    assert not hasattr(llm, "wake_up")
    with pytest.raises(ConfigError, match="no lora_request"):
        llm.generate("x", SHORT, lora_request=object())


def test_the_tokenizer_of_a_script(llm: LLM):
    tokenizer = llm.get_tokenizer()
    assert tokenizer.decode(tokenizer.encode("hello")) == FakeTokenizer().decode(FakeTokenizer().encode("hello"), skip_special_tokens=False)
    assert len(tokenizer) == tokenizer.vocab_size
    with pytest.raises(InvalidRequestError, match="no chat template"):
        tokenizer.apply_chat_template([])
    llm.engine.tokenizer.chat_template = ChatTemplate({"default": "{{ messages[0].content }}!{{ 'A:' if add_generation_prompt }}"}, {})
    talk = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True) == "hi!A:"
    assert tokenizer.apply_chat_template(talk) == tokenizer.encode("hi!", add_special_tokens=False)


def test_the_most_probable_tokens_stand_beside_the_drawn_one():
    entry = TokenLogprobs(5, -2.0, 3, ((7, -0.5), (5, -2.0)))
    mapping = logprob_mapping(entry, FakeTokenizer())
    assert list(mapping) == [5, 7]
    assert (mapping[5].rank, mapping[7].rank, mapping[7].logprob) == (3, 1, -0.5)
