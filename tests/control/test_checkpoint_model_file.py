"""A model file that changes under its reader is refused; what was read stays; a file replaced by rename does no harm."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fakes.tiny_gguf import VOCAB, converted_tensors, llama_metadata, write_gguf
from octavo.checkpoint.gguf import GgufFile
from octavo.checkpoint.model_file import ModelFile
from octavo.errors import CheckpointError

NAME = "model.embed_tokens.weight"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", llama_metadata(), converted_tensors())


@pytest.mark.parametrize("size", [0, 1000])
def test_a_file_that_shrinks_is_refused_and_what_was_read_stays(path, size):
    checkpoint = GgufFile(path)
    raw = checkpoint.tensor(NAME)
    os.truncate(path, size)
    with pytest.raises(CheckpointError, match=r"tiny\.gguf was changed .* rename it"):
        checkpoint.tensor("model.norm.weight")
    assert np.array_equal(raw.data.view("<f4").reshape(VOCAB, -1), converted_tensors()["token_embd.weight"])


def test_a_file_that_is_written_over_is_refused(path):
    checkpoint = GgufFile(path)
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(1, 1))
    with pytest.raises(CheckpointError, match="was changed"):
        checkpoint.tensor(NAME)


def test_a_file_that_is_replaced_by_rename_or_deleted_is_read_on(path, tmp_path):
    checkpoint = GgufFile(path)
    (tmp_path / "other").write_bytes(b"something else")
    (tmp_path / "other").rename(path)
    before = checkpoint.tensor(NAME).data
    path.unlink()
    assert np.array_equal(checkpoint.tensor(NAME).data, before)


def test_a_header_longer_than_the_first_read_is_read_again(tmp_path, monkeypatch):
    texts = [f"é{number}" for number in range(VOCAB)]
    path = write_gguf(tmp_path / "t.gguf", llama_metadata() | {"tokenizer.ggml.tokens": texts}, converted_tensors())
    for first in range(8, 400):
        monkeypatch.setattr("octavo.checkpoint.gguf_header._FIRST_BYTES", first)
        assert GgufFile(path).metadata["tokenizer.ggml.tokens"] == texts


def test_descriptors_are_given_back(path):
    for _ in range(3):
        file = ModelFile(path)
        before = len(os.listdir("/proc/self/fd"))
        del file
        assert len(os.listdir("/proc/self/fd")) == before - 1
