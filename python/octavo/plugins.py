"""Plugins by file name: the folder is the registry, the file name is the key.

`load("octavo.models", "llama")` checks the name against the folder's listing and imports that one file. A name that is not
there may come from outside, through the entry-point group of the same name (`octavo.models`). A plugin that fails to import
raises; it never vanishes from the list.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

__all__ = ["available", "entry_points", "load"]


def available(package: str) -> list[str]:
    """Return the sorted plugin names of `package`: its public files, then those of the entry-point group `package`."""
    return sorted({*_listing(package), *entry_points(package).names})


def load(package: str, name: str) -> ModuleType:
    """Import and return the plugin `name` of `package`. A dash in the name is an underscore in the file's.

    Raises:
        LookupError: no such plugin; the text lists those that exist.
    """
    file_name = name.replace("-", "_")
    if file_name in _listing(package):
        return import_module(f"{package}.{file_name}")
    for point in entry_points(package).select(name=name):
        return point.load()
    raise LookupError(f"no {package.rpartition('.')[2]} plugin named {name!r}; available: {', '.join(available(package))}")


def entry_points(group: str) -> EntryPoints:
    """Return a group's entry points of all installed distributions, whose files are read once: some hundredths of a second."""
    return _all_entry_points(tuple(sys.path)).select(group=group)


@cache
def _all_entry_points(_path: tuple[str, ...]) -> EntryPoints:
    from importlib import metadata

    return cast("EntryPoints", metadata.entry_points())


def _listing(package: str) -> list[str]:
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return [path.stem for folder in folders or [] for path in Path(folder).glob("*.py") if not path.stem.startswith("_")]
