"""APIs are imported when a client first asks for one: each route leads where its module says, and the start pays for none of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import octavo.server
from fakes.running_server import Server
from octavo.server.app import _FAMILIES, _LATE_FAMILIES

_MODULES = [f"octavo.server.{module}" for module in _LATE_FAMILIES]


@pytest.mark.parametrize("family", _LATE_FAMILIES)
def test_the_application_knows_each_route_of_the_module(family: str):
    routes = import_module(f"octavo.server.{family}").ROUTES
    assert sorted(f"{route.method} {route.path}" for route in routes) == sorted(_LATE_FAMILIES[family])


def test_every_file_with_routes_is_in_the_application():
    folder = Path(octavo.server.__file__).parent
    files = [path for path in folder.rglob("*.py") if "\nROUTES = " in path.read_text()]
    named = {".".join(path.relative_to(folder).with_suffix("").parts) for path in files}
    assert named == {*_LATE_FAMILIES, *(family.__name__.removeprefix("octavo.server.") for family in _FAMILIES)}


def test_a_start_imports_no_api_and_no_validation_library():
    late = {*_MODULES, "pydantic"}
    code = f"import sys, octavo.server.serve; print(*{late!r} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


async def test_requests_that_are_the_first_at_once_are_all_answered(server: Server):
    answers = await asyncio.gather(*(server.post("/v1/completions", {"prompt": [1, 2], "max_tokens": 1}) for _ in range(8)))
    assert [status for status, _ in answers] == [200] * 8
