"""What tools/serve, tools/test and tools/check do about a machine or folder that is not as they want it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import environment
import pytest
from environment import SetupError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty clone."""
    for name, path in {"ROOT": "", "VENV": ".venv", "BUILD": "build/tools", "STAMP": ".venv/octavo.json"}.items():
        monkeypatch.setattr(environment, name, tmp_path / path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    return tmp_path


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda program: None)
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    monkeypatch.setattr(environment.sysconfig, "get_path", lambda name: "/nowhere")
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(SetupError, match=rf"compiler.*venv.*/nowhere/Python\.h.*apt-get install g\+\+ {python}-venv {python}-dev$"):
        environment._check_tools()


def test_a_folder_that_cannot_be_written_serves_while_nothing_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_install", lambda extras, requirements, cpu: None)
    monkeypatch.setattr(environment, "_venv_fits", lambda: True)
    environment.prepare()
    environment.BUILD.with_suffix(".lock").unlink()
    environment.BUILD.parent.rmdir()
    (folder / "build").write_text("not a folder, so not even root can write into it")
    environment.prepare()
    (folder / "pyproject.toml").write_text("changed")
    with pytest.raises(SetupError, match=r"cannot write to .*use a copy of your own"):
        environment.prepare()


def test_a_folder_that_was_moved_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    (folder / ".venv" / "pyvenv.cfg").write_text(f"version = {version}\n")
    pip = folder / ".venv" / "bin" / "pip"
    pip.write_text(f"#!{folder}/.venv/bin/python\n")
    assert environment._venv_fits()
    before = environment._wanted_stamp([], [], False)
    moved = folder.with_name("moved")
    folder.rename(moved)
    for name in ("ROOT", "VENV", "STAMP"):
        monkeypatch.setattr(environment, name, moved / getattr(environment, name).relative_to(folder))
    assert not environment._venv_fits()
    assert environment._wanted_stamp([], [], False) != before


def test_of_a_long_output_the_errors_are_shown() -> None:
    lines = [f"noise {index}\n" for index in range(100)]
    lines[20:20] = ["best_isa.cc:4:10: fatal error: cpu/isa.h: No such file\n"]
    assert environment._telling([*lines, "  error: subprocess-exited-with-error\n"])[0].startswith("best_isa.cc")
    assert len(environment._telling(["a\n"] * 100)) == 40


@pytest.mark.skipif(not environment.cmake(), reason="no cmake here")
def test_the_best_instruction_set_is_found_in_a_path_with_a_space(tmp_path: Path) -> None:
    project = tmp_path / "my clone"
    project.mkdir()
    for name in ("cpp", "third_party"):
        (project / name).symlink_to(REPOSITORY / name)
    (project / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(x CXX)\ninclude(third_party/isa.cmake)\n")
    command = [environment.cmake(), "-S", str(project), "-B", str(tmp_path / "b"), "-DOCTAVO_CPU=native"]
    done = subprocess.run(command, env=environment.build_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
