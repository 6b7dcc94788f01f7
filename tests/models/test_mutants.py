"""Damaged model files: whatever is wrong, opening the model works or ends in one line; never a traceback, a hang or a huge allocation.

200 mutants by default, 2,000 where OCTAVO_TEST_ALL=1 asks for them. Each has a seed of its own, which its name tells.
"""

from __future__ import annotations

import copy
import json
import os
import random
import runpy
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from fakes.tiny_gguf import converted_tensors, llama_metadata, write_gguf
from octavo.checkpoint import open_checkpoint
from octavo.errors import CheckpointError, OctavoError
from octavo.layers.weights import Weights
from octavo.models import model_class, model_config
from octavo.text import open_tokenizer

ROOT = Path(__file__).resolve().parents[2]
NUM_MUTANTS = 2000 if os.environ.get("OCTAVO_TEST_ALL") == "1" else 200
FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "metadata", "gguf")
WICKED = (
    None,
    True,
    0,
    -1,
    1,
    7,
    2**31,
    2**32 - 1,
    2**63,
    10**400,
    0.5,
    -1e308,
    1e-320,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    "7",
    "\ud7ff\x00",
    "{% for",
    "{{ " + "(" * 5000,
    [],
    {},
    [1],
    [None],
    ["a", "b"],
    {"a": {"b": [1]}},
    [[[[[]]]]],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    make = runpy.run_path(str(ROOT / "tools/make_tiny_checkpoint.py"))["make_tiny_checkpoint"]
    return make("qwen3_moe", tmp_path_factory.mktemp("whole") / "model")


def gguf_metadata() -> dict[str, Any]:
    texts = [*(chr(code) for code in range(33, 70)), '!"', "<s>", "</s>"]
    return llama_metadata() | {
        "general.alignment": 32,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": [1] * 38 + [3] * 2,
        "tokenizer.ggml.merges": ['! "'],
        "tokenizer.ggml.bos_token_id": 38,
        "tokenizer.ggml.eos_token_id": 39,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": "{{ messages[0].content }}",
        "split.count": 1,
    }


@pytest.mark.parametrize("seed", range(NUM_MUTANTS))
def test_a_damaged_model_is_one_line(folder, tmp_path, seed):
    rng = random.Random(seed)
    kind = FILES[seed % len(FILES)]
    path = mutant(folder, tmp_path, kind, rng)
    try:
        open_everything(path)
    except OctavoError as error:
        text = str(error)
        assert len(text) < 1000, f"{kind}: {text[:200]}"
        assert "\n" not in text, f"{kind}: {text}"


def mutant(folder: Path, target: Path, kind: str, rng: random.Random) -> Path:
    if kind in ("gguf", "metadata"):
        return mutant_gguf(target / "model.gguf", kind, rng)
    shutil.copytree(folder, target / "model")
    path = target / "model" / kind
    data = path.read_bytes()
    if kind.endswith(".json"):
        value = json.loads(data)
        for _ in range(rng.randint(1, 3)):
            change(value, rng)
        data = json.dumps(value).encode()
        if rng.random() < 0.1:
            data = flipped(data, len(data), rng)
    else:
        data = flipped(data, 8 + int.from_bytes(data[:8], "little"), rng)
    path.write_bytes(data)
    return target / "model"


def mutant_gguf(path: Path, kind: str, rng: random.Random) -> Path:
    metadata = gguf_metadata()
    if kind == "metadata":
        key = rng.choice([key for key in metadata if key != "general.architecture"])
        storable = [value for value in WICKED if storable_in_gguf(value)]
        value = rng.choice(storable)
        metadata[key] = value
        return write_gguf(path, metadata, converted_tensors())
    write_gguf(path, metadata, converted_tensors())
    data = path.read_bytes()
    path.write_bytes(flipped(data, 3000, rng) if rng.random() < 0.8 else data[: rng.randrange(len(data))])
    return path


def storable_in_gguf(value: Any) -> bool:
    if isinstance(value, (bool, str)):
        return value != "\ud7ff\x00"
    if isinstance(value, int):
        return 0 <= value < 2**32
    return (isinstance(value, float) and not value < -1e38) or value in ([1], ["a", "b"])


def change(value: Any, rng: random.Random) -> None:
    """Put something wicked somewhere into a JSON value, or take a key out."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(list(keys))
        if isinstance(value[key], (dict, list)) and value[key] and rng.random() < 0.7:
            value = value[key]
            continue
        if isinstance(value, dict) and rng.random() < 0.2:
            del value[key]
        else:
            value[key] = copy.deepcopy(rng.choice(WICKED))
        return


def flipped(data: bytes, end: int, rng: random.Random) -> bytes:
    """Some bytes before `end` changed."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(min(end, len(data)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def open_everything(path: Path) -> None:
    """What a start does with a model's files, without room for a KV cache."""
    checkpoint = open_checkpoint(path)
    config = model_config(checkpoint)
    tokenizer = open_tokenizer(checkpoint)
    model_class(config.model_type)(NoWeights(checkpoint), config, 64)
    tokenizer.encode("Hello, <s>!")
    tokenizer.token_bytes(0)
    if tokenizer.chat_template is not None:
        tokenizer.chat_template.render([{"role": "user", "content": "Hi"}])


class NoWeights(Weights):
    """Reads every tensor that the layers ask for, as a placement would, and keeps none."""

    def __init__(self, checkpoint: Any) -> None:
        self.ops = MagicMock()
        self._checkpoint = checkpoint

    def __getattr__(self, name: str) -> Any:
        return MagicMock()

    def linear(self, parts: dict[str, int], in_features: int) -> Any:
        for name, rows in parts.items():
            self._checkpoint.tensor(f"{name}.weight", (rows, in_features))

    def embedding(self, name: str, num_rows: int, num_cols: int) -> Any:
        self._checkpoint.tensor(name, (num_rows, num_cols))

    def vector(self, parts: dict[str, int], offset: float = 0.0) -> Any:
        for name, size in parts.items():
            self._checkpoint.tensor(name, (size,))

    def constant(self, values: np.ndarray) -> Any:
        return values

    def has(self, name: str) -> bool:
        return name in self._checkpoint.names()


def test_the_whole_files_open(folder, tmp_path):
    open_everything(folder)
    open_everything(write_gguf(tmp_path / "model.gguf", gguf_metadata(), converted_tensors()))
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / "none")
