"""`LLM.embed`, `score`, `classify`, `encode` over tiny random encoders, and over a model that makes text."""

from __future__ import annotations

import numpy as np
import pytest

from fakes.fake_engine import fake_engine
from fakes.tiny_encoder import write_encoder
from octavo import LLM
from octavo.errors import ConfigError, InvalidRequestError


def load(folder, head="BertModel", config=None, **settings) -> LLM:
    return LLM(str(write_encoder(folder, head, **(config or {}))), load_format="dummy", threads=1, log_stats_s=0, **settings)


def test_embed(tmp_path):
    with load(tmp_path) as llm:
        outputs = llm.embed(["ab", "xyz", {"prompt": "ab"}])
        rows = np.array([output.outputs.embedding for output in outputs])
        assert rows.shape == (3, 32) and np.allclose(np.linalg.norm(rows, axis=1), 1.0)
        assert np.array_equal(rows[0], rows[2])
        by_ids = llm.embed(outputs[0].prompt_token_ids)
        assert np.array_equal(by_ids[0].outputs.embedding, rows[0])
        assert len(llm.embed("ab", dimensions=4)[0].outputs.embedding) == 4
        with pytest.raises(InvalidRequestError, match="dimensions is 33, but its embeddings have 32"):
            llm.embed("ab", dimensions=33)
        with pytest.raises(InvalidRequestError, match=r"prompt 1 \(of 2, from 0\): the input has 102 tokens"):
            llm.embed(["ab", "a" * 100])
        assert len(llm.embed("a" * 100, truncate_prompt_tokens=-1)[0].prompt_token_ids) == 64


def test_score_by_cosine_and_by_cross_encoder(tmp_path):
    with load(tmp_path) as llm:
        scores = [output.outputs.score for output in llm.score("ab", ["ab", "xyz"])]
        assert np.isclose(scores[0], 1.0) and scores[1] < 1.0
    with load(tmp_path, "BertForSequenceClassification", {"num_labels": 1}) as llm:
        assert all(0 < output.outputs.score < 1 for output in llm.score(["ab", "b"], ["xyz", "c"]))
        with pytest.raises(InvalidRequestError, match="text_1 has 2 texts and text_2 3"):
            llm.score(["a", "b"], ["a", "b", "c"])


def test_classify_and_encode(tmp_path):
    with load(tmp_path, "BertForSequenceClassification", {"id2label": {"0": "no", "1": "yes"}}) as llm:
        [output] = llm.classify("ab")
        assert np.isclose(sum(output.outputs.probs), 1.0, atol=1e-6) and output.outputs.label in ("no", "yes")
        [tokens] = llm.encode("ab", pooling_task="token_embed")
        assert tokens.outputs.data.shape == (4, 32)
        with pytest.raises(InvalidRequestError, match="no model for embed"):
            llm.embed("ab")


def test_the_wrong_kind_of_model(tmp_path):
    with LLM.from_engine(fake_engine()) as llm, pytest.raises(InvalidRequestError, match="makes text, not vectors"):
        llm.embed("a")
    with load(tmp_path) as llm, pytest.raises(InvalidRequestError, match="makes vectors, not text"):
        llm.generate("a")


def test_a_text_must_fit_a_step(tmp_path):
    with pytest.raises(ConfigError, match="--max-num-batched-tokens is 32"):
        load(tmp_path, max_num_batched_tokens=32)
    with load(tmp_path, max_num_batched_tokens=32, max_model_len=32) as llm:
        assert len(llm.embed(["a" * 30] * 3)) == 3


def test_a_decoder_embeds_when_told_to(tmp_path):
    config = {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 16}
    with load(tmp_path, "Qwen3ForCausalLM", config, task="embed", kv_cache_bytes=1 << 20) as llm:
        texts = ["a" * 60, "a" * 60 + "b", "xyz"]
        whole = [output.outputs.embedding for output in llm.embed(texts)]
        again = llm.embed(texts)
        assert [output.outputs.embedding for output in again] == whole
        assert again[0].num_cached_tokens == 48  # prefixes that ended before are not computed again
