"""Plugins by file name: the folder is the registry, the file name is the key.

`load("octavo.models", "llama")` checks the name against the folder's listing and imports that one file. A name that is not
there may come from outside, through the entry-point group of the same name (`octavo.models`). A plugin that fails to import
raises; it never vanishes from the list.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

__all__ = ["available", "load"]


def available(package: str) -> list[str]:
    """Return the sorted plugin names of `package`: its public files, then those of the entry-point group `package`."""
    from importlib.metadata import entry_points

    return sorted({*_listing(package), *(point.name for point in entry_points(group=package))})


def load(package: str, name: str) -> ModuleType:
    """Import and return the plugin `name` of `package`. A dash in the name is an underscore in the file's.

    Raises:
        LookupError: no such plugin; the text lists those that exist.
    """
    file_name = name.replace("-", "_")
    if file_name in _listing(package):
        return import_module(f"{package}.{file_name}")
    from importlib.metadata import entry_points

    for point in entry_points(group=package, name=name):
        return point.load()
    raise LookupError(f"no {package.rpartition('.')[2]} plugin named {name!r}; available: {', '.join(available(package))}")


def _listing(package: str) -> list[str]:
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return [path.stem for folder in folders or [] for path in Path(folder).glob("*.py") if not path.stem.startswith("_")]
