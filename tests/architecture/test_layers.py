"""The layout is what docs/design.md says: import-linter's contracts (test_source_checks.py) cover every folder."""

from __future__ import annotations

from pathlib import Path

import octavo

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "octavo"
CONTROL_PLANE = {"cache", "engine", "parsers", "scheduler", "server", "step", "structured", "text"}


def test_every_control_plane_folder_is_in_the_torch_contract():
    settings = (ROOT / "pyproject.toml").read_text()
    contract = settings.partition('name = "The control plane never reaches torch"')[2].partition("[[")[0]
    existing = {path.stem for path in PACKAGE.iterdir() if path.stem in CONTROL_PLANE}
    missing = {name for name in existing if f'"octavo.{name}"' not in contract}
    assert not missing


def test_the_public_names_resolve_and_nothing_else_does():
    for name in octavo.__all__:
        assert getattr(octavo, name) is not None
    assert set(octavo.__all__) <= set(dir(octavo))
    assert not hasattr(octavo, "no_such_name")


def test_the_map_has_a_line_for_every_folder():
    text = (PACKAGE / "README.md").read_text()
    folders = [path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    assert [name for name in folders if f"`{name}/`" not in text] == []
    assert len(text.splitlines()) <= 60
