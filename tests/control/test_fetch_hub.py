"""A model by its name on the hub: which files, from where, and what is said when it fails. The hub is a fake one on loopback.

`huggingface_hub` reads its environment when it is imported, so each case is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.fake_hub import COMMIT, FakeHub, running_hub
from octavo.errors import CheckpointError
from octavo.fetch.hub_files import folder_files, gguf_files
from octavo.fetch.hub_name import HubName, parse_hub_name

FOLDER = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": b"w" * 100_000,
    "README.md": b"x",
    "original/model.safetensors": b"x",
    "pytorch_model.bin": b"x",
    "consolidated.safetensors": b"x",
}
GGUF = {"Tiny-Q4_K_M.gguf": b"GGUF4", "Tiny-Q8_0.gguf": b"GGUF8", "Tiny-IQ1_S.gguf": b"GGUF1", "mmproj-F16.gguf": b"x", "README.md": b"x"}
PROGRAM = "import sys; from octavo.fetch import find_model; found = find_model(sys.argv[1], print); print(found.path, found.name)"
Find = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def hub():
    with running_hub(FakeHub({"me/tiny": dict(FOLDER), "me/tiny-GGUF": dict(GGUF)})) as running:
        yield running


@pytest.fixture
def settings(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**clean, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}


@pytest.fixture
def find(settings: dict[str, str], tmp_path: Path) -> Find:
    def run(model: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, model]
        return subprocess.run(command, env=settings | environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def start(settings: dict[str, str], tmp_path: Path) -> Start:
    def run(model: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, model], env=settings, cwd=tmp_path, stdout=subprocess.DEVNULL)

    return run


def wait_for(look: Callable[[], Path | None]) -> Path:
    deadline = time.monotonic() + 30
    while (found := look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def found(done: subprocess.CompletedProcess[str]) -> tuple[Path, str]:
    assert done.returncode == 0, done.stderr
    path, name = done.stdout.splitlines()[-1].rsplit(" ", 1)
    return Path(path), name


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    kind, _, text = done.stderr.splitlines()[-1].partition(": ")
    assert kind == "octavo.errors.CheckpointError", done.stderr
    return text


def test_a_folder_comes_once_with_what_it_needs(hub: FakeHub, find: Find) -> None:
    path, name = found(find("me/tiny"))
    assert name == "me/tiny"
    assert sorted(file.name for file in path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]
    hub.log.clear()
    assert found(find("me/tiny")) == (path, name)
    assert found(find("me/tiny", HF_HUB_OFFLINE="1")) == (path, name)
    assert found(find(f"me/tiny@{COMMIT}"))[0] == path
    assert hub.log == [], "what is in the cache needs no hub"


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("me/tiny-GGUF", "Tiny-Q4_K_M.gguf"),
        ("me/tiny-GGUF:q8_0", "Tiny-Q8_0.gguf"),
        ("me/tiny-GGUF:Tiny-IQ1_S.gguf@main", "Tiny-IQ1_S.gguf"),
    ],
)
def test_one_gguf_file_of_several(hub: FakeHub, find: Find, model: str, file: str) -> None:
    path, _ = found(find(model))
    assert path.name == file
    assert path.read_bytes() == GGUF[file]
    assert not any("mmproj" in requested or "README" in requested for _, requested, _ in hub.log)


def test_a_connection_that_breaks_is_continued(hub: FakeHub, find: Find) -> None:
    content = bytes(12 << 20)  # the library writes 10 MiB at a time
    hub.repos["me/tiny"]["model.safetensors"] = content
    hub.cut_after = 11 << 20
    path, _ = found(find("me/tiny"))
    assert (path / "model.safetensors").read_bytes() == content
    ranges = [asked for method, file, asked in hub.log if method == "GET" and file.endswith("model.safetensors")]
    assert ranges == [None, f"bytes={10 << 20}-"]


@pytest.mark.parametrize("change", ["none", "another file", "too many bytes"])
def test_a_download_that_was_killed_goes_on_where_it_stopped(hub: FakeHub, find: Find, start: Start, tmp_path: Path, change: str) -> None:
    weights = os.urandom(25 << 20)
    hub.repos["me/tiny"]["model.safetensors"] = weights
    hub.stall_after = 21 << 20
    process = start("me/tiny")
    assert hub.stalled.wait(30)
    blobs = tmp_path / "hf" / "hub" / "models--me--tiny" / "blobs"
    partial = wait_for(lambda: next((path for path in blobs.glob("*.partial") if path.stat().st_size >= 20 << 20), None))
    process.kill()
    process.wait()
    if change == "another file":
        weights = hub.repos["me/tiny"]["model.safetensors"] = os.urandom(21 << 20)
    elif change == "too many bytes":
        partial.write_bytes(os.urandom(26 << 20))
    hub.log.clear()
    folder, _ = found(find("me/tiny"))
    assert (folder / "model.safetensors").read_bytes() == weights
    ranges = [asked for method, path, asked in hub.log if method == "GET" and path.endswith("model.safetensors")]
    assert ranges == [f"bytes={20 << 20}-" if change == "none" else None]


def test_what_is_complete_is_not_fetched_again(hub: FakeHub, find: Find) -> None:
    hub.gone.add("model.safetensors")
    assert "reachable?" in refused(find("me/tiny"))
    hub.gone.clear()
    hub.log.clear()
    assert (found(find("me/tiny"))[0] / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]
    assert [file.rsplit("/", 1)[1] for method, file, _ in hub.log if method == "GET" and "resolve" in file] == ["model.safetensors"]


def test_a_damaged_download_is_told_and_removed(hub: FakeHub, find: Find) -> None:
    hub.lies["model.safetensors"] = b"v" * 100_000
    assert "model.safetensors has the sha256" in refused(find("me/tiny"))
    hub.lies.clear()
    path, _ = found(find("me/tiny"))
    assert (path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]


def test_private_and_gated_repositories_ask_for_a_token(hub: FakeHub, find: Find) -> None:
    hub.token = "hf_secret"
    assert "set HF_TOKEN" in refused(find("me/tiny"))
    assert found(find("me/tiny", HF_TOKEN="hf_secret"))
    hub.gated.add("me/tiny-GGUF")
    assert f"give it at {hub.url}/me/tiny-GGUF" in refused(find("me/tiny-GGUF", HF_TOKEN="hf_secret"))


def test_what_is_not_there_is_named(find: Find) -> None:
    assert "no such repository, or a private one" in refused(find("me/other"))
    assert "no branch, tag or commit 'v9'" in refused(find("me/tiny@v9"))
    assert "me/tiny-GGUF:Tiny-IQ1_S.gguf" in refused(find("me/tiny-GGUF:Q5_K_M"))
    assert "no model at nowhere.gguf" in refused(find("nowhere.gguf"))


def test_offline_says_what_to_do(find: Find) -> None:
    assert "HF_HUB_OFFLINE is set; unset it, or give the path" in refused(find("me/tiny", HF_HUB_OFFLINE="1"))
    unreachable = refused(find("me/tiny", HF_ENDPOINT="http://127.0.0.1:9"))
    assert "is http://127.0.0.1:9 reachable?" in unreachable
    assert "hf download me/tiny" in unreachable


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/b", HubName("a/b")),
        ("a/b-GGUF:Q4_K_M", HubName("a/b-GGUF", "Q4_K_M")),
        ("a/b:x/y.gguf@v1.0", HubName("a/b", "x/y.gguf", "v1.0")),
        ("a/b.gguf", None),
        ("./a/b", None),
        ("/a/b", None),
        ("a", None),
        ("a/b/c", None),
        ("a/../b", None),
        ("~/b", None),
        ("", None),
    ],
)
def test_names_and_paths_are_told_apart(text: str, name: HubName | None) -> None:
    assert parse_hub_name(text) == name
    assert name is None or str(name) == text


def test_parts_of_a_gguf_file_and_shards_of_a_folder() -> None:
    parts = [f"Q8_0/m-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert gguf_files(HubName("a/b", "Q8_0"), parts) == parts
    with pytest.raises(CheckpointError, match=r"00002-of-00002.gguf, a part of"):
        gguf_files(HubName("a/b", "Q8_0"), parts[:1])
    shards = ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"]
    assert folder_files([*shards, "model.safetensors.index.json", "config.json", "merges.txt", "x.py"]) == [
        "config.json",
        "merges.txt",
        "model.safetensors.index.json",
        *sorted(shards),
    ]
