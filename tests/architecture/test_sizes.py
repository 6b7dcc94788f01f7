"""Files and functions stay small, public names are listed and sorted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
SOURCES = sorted(
    path
    for folder, suffixes in {"python": {".py", ".pyi"}, "cpp": {".h", ".cc"}, "tests": {".py"}, "tools": {".py", ""}}.items()
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix in suffixes
)
PYTHON = [path for path in SOURCES if path.suffix == ".py"]
MODULES = [path for path in PYTHON if (ROOT / "python") in path.parents and path.name != "__main__.py"]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_file_is_long(path: Path):
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_no_function_is_long(path: Path):
    long = [f"{node.name}: {size}" for node, size in functions(path) if size > MAX_FUNCTION_LINES]
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_public_names_are_listed_sorted_and_defined(path: Path):
    tree = ast.parse(path.read_text())
    listed = next(
        (ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign) and targets(node) == ["__all__"]), None
    )
    if listed is None:
        assert not public_definitions(tree), f"{relative(path)} defines public names but has no __all__"
        return
    assert listed == sorted(listed, key=sort_key)
    assert len(listed) == len(set(listed))


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1


def targets(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def public_definitions(tree: ast.Module) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def sort_key(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order of ruff's RUF022."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)
