"""Gemma 3's SentencePiece tokenizer and configuration out of its GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest

from octavo.checkpoint import Checkpoint, open_checkpoint
from octavo.text import Tokenizer, open_tokenizer

# Made with transformers 5.23 (GemmaTokenizer) from the same file
EXPECTED = {
    "Hello world  12345 don't": [2, 9259, 1902, 138, 236770, 236778, 236800, 236812, 236810, 1537, 236789, 236745],
    "héllo 😀 中文\n\n  x": [2, 236754, 7869, 844, 163543, 17346, 237364, 108, 138, 236781],
    "<start_of_turn>user\nHi<end_of_turn>\n": [2, 105, 2364, 107, 10979, 106, 107],
}
CONFIG = {
    "model_type": "gemma3_text",
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_hidden_layers": 18,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
    "sliding_window": 512,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
    "vocab_size": 262144,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh",
}


@pytest.fixture(scope="module")
def checkpoint(gemma3: Path) -> Checkpoint:
    return open_checkpoint(gemma3)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    return open_tokenizer(checkpoint)


def test_config(checkpoint: Checkpoint) -> None:
    assert {key: checkpoint.config[key] for key in CONFIG} == CONFIG
    assert checkpoint.generation_config["eos_token_id"] == [1]


@pytest.mark.parametrize("text", EXPECTED)
def test_ids_and_text(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == EXPECTED[text]
    assert tokenizer.decode(EXPECTED[text], skip_special_tokens=False) == f"<bos>{text}"
    stream = tokenizer.detokenizer(skip_special_tokens=False)
    assert "".join(stream.push([token_id]) for token_id in EXPECTED[text]) + stream.finish() == f"<bos>{text}"


def test_base_model_has_no_chat_template(tokenizer: Tokenizer) -> None:
    assert tokenizer.chat_template is None
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (2, (1,))
