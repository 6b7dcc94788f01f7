"""all-MiniLM-L6-v2 served for real: equal to sentence-transformers, and to itself in any batch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from octavo import LLM

TEXTS = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.", "x " * 300]
# The first columns and the cosines with the first text that SentenceTransformer("all-MiniLM-L6-v2").encode gives (version 6.2.0).
FIRST_COLUMNS = [
    [0.019196, 0.120085, 0.159598, 0.067066, 0.050075, -0.025919],
    [-0.01869, 0.041519, 0.074315, 0.078433, 0.07557, -0.012508],
    [0.136502, 0.082273, -0.025262, 0.030451, 0.053312, 0.050809],
    [-0.00206, -0.037469, -0.031494, -0.042564, -0.100168, -0.082647],
]
COSINES = [1.0, 0.665955, 0.104584, 0.042957]


@pytest.fixture(scope="module")
def llm(minilm):
    with LLM(str(minilm), threads=2, log_stats_s=0) as llm:
        yield llm


def embeddings(llm: LLM, texts: list[str], **settings) -> np.ndarray:
    return np.array([output.outputs.embedding for output in llm.embed(texts, **settings)], np.float32)


def test_equal_to_sentence_transformers(llm):
    rows = embeddings(llm, TEXTS, truncate_prompt_tokens=-1)  # sentence-transformers cuts without being asked
    np.testing.assert_allclose(rows[:, :6], FIRST_COLUMNS, atol=2e-6)
    np.testing.assert_allclose(rows @ rows[0], COSINES, atol=2e-6)
    assert [output.outputs.score for output in llm.score(TEXTS[0], TEXTS[:3])] == pytest.approx(COSINES[:3], abs=2e-6)


def test_equal_to_transformers_at_mixed_lengths(llm, minilm):
    chance = random.Random(3)
    words = [
        "a",
        "tiny",
        "house",
        "by",
        "the",
        "sea",
        "stood",
        "there",
        "when",
        "nobody",
        "looked",
        "12",
        "km",
        "away,",
        "wasn't",
        "it?",
        "Überraschung",
        "猫",
    ]
    texts = [" ".join(chance.choices(words, k=count)) for count in (1, 2, 3, 5, 9, 17, 40, 100, 120)]
    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    with torch.inference_mode():
        means = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts]
    expected = torch.nn.functional.normalize(torch.stack(means)).numpy()
    np.testing.assert_allclose(embeddings(llm, texts), expected, atol=1e-4 * np.abs(expected).max())


def test_a_vector_does_not_depend_on_its_batch(llm):
    together = embeddings(llm, TEXTS[:3] * 50)
    assert np.array_equal(together[:3].view(np.int32), np.concatenate([embeddings(llm, [text]) for text in TEXTS[:3]]).view(np.int32))
    assert np.array_equal(together[:3], together[-3:])
