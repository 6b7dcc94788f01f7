"""Hugging Face folders: whole and sharded safetensors (written by the `safetensors` package), made-up weights, and damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from octavo.checkpoint import open_checkpoint
from octavo.checkpoint.dummy import DummyCheckpoint
from octavo.errors import CheckpointError

_RNG = np.random.default_rng(0)
_TENSORS = {
    "a.weight": _RNG.standard_normal((3, 4)).astype(np.float32),
    "b.weight": _RNG.standard_normal((2, 5)).astype(np.float16),
    "scalar": np.array(2.5, np.float32),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": [1, 2]}))
    return tmp_path


def _shards(folder: Path) -> Path:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    save_file({"a.weight": _TENSORS["a.weight"]}, folder / first)
    save_file({"b.weight": _TENSORS["b.weight"]}, folder / second)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a.weight": first, "b.weight": second}}))
    return index


def _write_by_hand(folder: Path, header: dict, data: bytes) -> None:
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_one_file(folder: Path) -> None:
    save_file(_TENSORS, folder / "model.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(folder)
    assert checkpoint.names() == set(_TENSORS)
    for name, array in _TENSORS.items():
        raw = checkpoint.tensor(name, array.shape)
        assert raw.format == {"float32": "F32", "float16": "F16"}[str(array.dtype)]
        assert np.array_equal(raw.data.view(array.dtype).reshape(raw.shape), array)
        assert not raw.data.flags.writeable


def test_bfloat16_needs_no_torch(folder: Path) -> None:
    bits = np.arange(6, dtype=np.uint16)
    _write_by_hand(folder, {"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}, bits.tobytes())
    raw = open_checkpoint(folder).tensor("w")
    assert (raw.format, raw.shape) == ("BF16", (2, 3))
    assert np.array_equal(raw.data.view(np.uint16), bits)


@pytest.mark.parametrize("keep_index", [True, False])
def test_shards_with_and_without_index(folder: Path, keep_index: bool) -> None:
    index = _shards(folder)
    if not keep_index:
        index.unlink()
    save_file({"other": _TENSORS["a.weight"]}, folder / "consolidated.safetensors")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.names() == {"a.weight", "b.weight"}
    assert checkpoint.tensor("b.weight").shape == (2, 5)


def test_shard_that_lacks_a_listed_tensor(folder: Path) -> None:
    index = _shards(folder)
    index.write_text(index.read_text().replace('"b.weight"', '"c.weight"'))
    with pytest.raises(CheckpointError, match=r"00002-of-00002.safetensors: tensor c.weight is missing"):
        open_checkpoint(folder)


def test_missing_shard(folder: Path) -> None:
    _shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*00002-of-00002.safetensors"):
        open_checkpoint(folder)


def test_tensor_in_two_files(folder: Path) -> None:
    for name in ("x.safetensors", "y.safetensors"):
        save_file({"a.weight": _TENSORS["a.weight"]}, folder / name)
    with pytest.raises(CheckpointError, match=r"a.weight is in x.safetensors and in y.safetensors"):
        open_checkpoint(folder)


def test_every_truncation_is_one_clear_error(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file(_TENSORS, path)
    data = path.read_bytes()
    for size in range(1, len(data), 5):
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"model.safetensors is (truncated|not a safetensors file)"):
            open_checkpoint(folder)


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "{",
        '{"a": 1}',
        '{"a": {"dtype": "F32", "shape": [1]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        '{"a": {"dtype": 7, "shape": [1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}',
    ],
)
def test_damaged_header(folder: Path, header: str) -> None:
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        open_checkpoint(folder)


def test_tensor_errors_name_file_and_tensor(folder: Path) -> None:
    header = {
        "int": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
        "short": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
    }
    _write_by_hand(folder, header, bytes(8))
    checkpoint = open_checkpoint(folder)
    for name, shape, message in (
        ("int", None, "tensor int has the data type I64"),
        ("short", None, r"tensor short has 8 bytes, not those of a F32 \[3\]"),
        ("short", (4,), r"tensor short has shape \[3\].*\[4\]"),
        ("gone", None, "tensor gone is missing"),
    ):
        with pytest.raises(CheckpointError, match=message):
            checkpoint.tensor(name, shape)


def test_folder_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no \*.safetensors file$"):
        open_checkpoint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"convert pytorch_model.bin"):
        open_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json is not valid JSON"):
        open_checkpoint(folder)
    (folder / "config.json").unlink()
    (folder / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"holds no config.json.*m.gguf"):
        open_checkpoint(folder)


def test_generation_config_is_completed_from_config(folder: Path) -> None:
    save_file(_TENSORS, folder / "model.safetensors")
    assert open_checkpoint(folder).generation_config == {"eos_token_id": [1, 2]}
    (folder / "generation_config.json").write_text('{"eos_token_id": 7, "top_p": 0.9}')
    assert open_checkpoint(folder).generation_config == {"eos_token_id": 7, "top_p": 0.9}


def test_dummy_weights_are_small_repeatable_and_differ_by_name(folder: Path) -> None:
    first, second = open_checkpoint(folder, "dummy"), DummyCheckpoint(folder / "config.json")
    assert first.names() is None
    raw = first.tensor("model.layers.0.mlp.up_proj.weight", (300, 400))
    values = (raw.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    assert (raw.format, values.size) == ("BF16", 120_000)
    assert abs(values.mean()) < 1e-3
    assert values.std() == pytest.approx(0.02, rel=0.05)
    assert np.array_equal(raw.data, second.tensor(raw.name, (300, 400)).data)
    assert not np.array_equal(raw.data, second.tensor("model.layers.1.mlp.up_proj.weight", (300, 400)).data)


def test_dummy_norms_are_ones_in_the_configured_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"torch_dtype": "float16"}')
    raw = open_checkpoint(folder, "dummy").tensor("model.norm.weight", (8,))
    assert raw.format == "F16"
    assert np.array_equal(raw.data.view(np.float16), np.ones(8))
    with pytest.raises(CheckpointError, match="without a shape"):
        open_checkpoint(folder, "dummy").tensor("model.norm.weight")
