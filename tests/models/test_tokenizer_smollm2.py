"""The default model's tokenizer and configuration out of its GGUF file, against what the model's own repository says."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import pytest

from octavo.checkpoint import Checkpoint, open_checkpoint
from octavo.text import Tokenizer, open_tokenizer

# Made with transformers 5.23 from the same file, with the pre-tokenizer of the model's tokenizer.json (single digits, byte-level)
EXPECTED = {
    "Hello world  12345 don't": [19556, 905, 256, 33, 34, 35, 36, 37, 1326, 982],
    "héllo 😀 中文\n\n  x": [88, 2756, 31394, 40303, 218, 216, 28589, 29184, 8866, 1792],
    "<|im_start|>user\nHi<|im_end|>": [1, 4093, 198, 26843, 2],
}
CONFIG = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "rope_scaling": None,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "hidden_act": "silu",
}


@pytest.fixture(scope="module")
def checkpoint(smollm2: Path) -> Checkpoint:
    return open_checkpoint(smollm2)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    return open_tokenizer(checkpoint)


def test_tokens_have_the_vocabularys_spelling(tokenizer) -> None:
    assert [tokenizer.token_text(token_id) for token_id in tokenizer.encode("hi is", add_special_tokens=False)] == ["hi", "Ġis"]


def test_config(checkpoint: Checkpoint) -> None:
    assert {key: checkpoint.config[key] for key in CONFIG} == CONFIG
    assert checkpoint.generation_config["eos_token_id"] == [2]
    assert len(checkpoint.names() or ()) == 272


@pytest.mark.parametrize("text", EXPECTED)
def test_ids_and_text(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == EXPECTED[text]
    assert tokenizer.decode(EXPECTED[text], skip_special_tokens=False) == text
    stream = tokenizer.detokenizer(skip_special_tokens=False)
    assert "".join(stream.push([token_id]) for token_id in EXPECTED[text]) + stream.finish() == text


def test_special_tokens(tokenizer: Tokenizer) -> None:
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids, tokenizer.vocab_size) == (1, (2,), 49152)
    assert tokenizer.special_token_ids == set(range(17))


def test_chat_template(tokenizer: Tokenizer) -> None:
    assert tokenizer.chat_template is not None
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    assert (
        tokenizer.chat_template.render([{"role": "user", "content": "Hi"}])
        == f"{system}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_quick_to_open(smollm2: Path, tokenizer: Tokenizer) -> None:
    """Start-up budget, in processor time so that a busy machine does not matter; `tokenizer` has the libraries imported."""

    def opening_s() -> float:
        begin = process_time()
        open_tokenizer(open_checkpoint(smollm2))
        return process_time() - begin

    assert min(opening_s() for _ in range(3)) < 0.3
