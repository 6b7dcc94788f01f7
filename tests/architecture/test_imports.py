"""Every module imports by itself, the control plane without torch, and start-up stays quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "octavo"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py")
)
TORCH_FREE = (
    "cache",
    "cli",
    "config",
    "engine",
    "errors",
    "llm",
    "log",
    "parsers",
    "plugins",
    "scheduler",
    "server",
    "step",
    "structured",
    "text",
    "types",
)
HEAVY = ("torch", "transformers", "safetensors", "matplotlib")
VERSION_MS = 150

# Forks for each module, so that each imports into an interpreter that has loaded nothing of Octavo; libraries are loaded once.
IMPORT_EACH = """
import importlib, json, os, sys
heavy = sys.argv[1].split(",")
for library in ("numpy", "aiohttp", "orjson", "pydantic", "tokenizers", "jinja2", "prometheus_client"):
    importlib.import_module(library)
for name in sys.stdin.read().split():
    read, write = os.pipe()
    if os.fork() == 0:
        error = ""
        try:
            importlib.import_module(name)
        except BaseException as problem:
            error = f"{type(problem).__name__}: {problem}"
        loaded = [module for module in heavy if module in sys.modules]
        os.write(write, json.dumps([name, error, loaded]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        print(pipe.read())
    os.wait()
"""


def import_each(modules: list[str]) -> list[tuple[str, str, list[str]]]:
    """Return (module, error or "", heavy libraries that it loaded) for each."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, ",".join(HEAVY)], input=" ".join(modules), capture_output=True, text=True, check=True
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.fixture(scope="module")
def imports() -> list[tuple[str, str, list[str]]]:
    return import_each([name for name in MODULES if find_spec("torch") or layer(name) in TORCH_FREE])


def test_every_module_imports_alone(imports):
    assert {name: error for name, error, _ in imports if error} == {}


def test_the_control_plane_loads_no_torch(imports):
    assert {name: loaded for name, _, loaded in imports if loaded and layer(name) in TORCH_FREE} == {}


def test_the_package_itself_loads_next_to_nothing():
    done = subprocess.run([sys.executable, "-c", "import sys, octavo; print(*sys.modules)"], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "aiohttp", "asyncio", "pydantic", "tqdm", *HEAVY}


def test_the_version_comes_at_once():
    """Processor time, best of five, because other tests and programs share the machine."""
    best = min(cpu_seconds_of([sys.executable, "-m", "octavo", "--version"]) for _ in range(5))
    assert best * 1e3 <= VERSION_MS


def cpu_seconds_of(command: list[str]) -> float:
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("octavo ")
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system
