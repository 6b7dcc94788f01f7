"""Command-line flags out of the configuration dataclasses: a field is a flag, its metadata the help.

`kv_cache_bytes: int | None` becomes `--kv-cache-bytes 4GiB`, `prefix_caching: bool` becomes `--prefix-caching / --no-prefix-caching`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import Field
from typing import Any, TypeVar, get_args, get_origin

from octavo.cli.parser import UsageError
from octavo.config import from_flat, settings, to_flat
from octavo.errors import ConfigError

__all__ = ["add_options", "from_options", "parse_bytes", "positive_int", "to_flags"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", re.IGNORECASE)

Config = TypeVar("Config")


def parse_bytes(text: str) -> int:
    """Return the bytes that `4GiB`, `512MiB`, `1.5g` or `1000` mean. Units without an i are powers of 1000."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write a number of bytes, or one such as 4GiB or 512MB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def positive_int(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_options(parser: argparse.ArgumentParser, config_class: type, title: str, *, positional: bool = False) -> None:
    """Add a flag for each setting of a configuration, in a group for each of its sections.

    Args:
        positional: whether fields that say so in their metadata may be given without their flag, too.
    """
    groups: dict[str, Any] = {}
    for name, (section, setting, kind) in settings(config_class).items():
        if section not in groups:
            groups[section] = parser.add_argument_group(f"{title}: {section}" if section else title)
        if positional and setting.metadata.get("positional"):
            parser.add_argument(name, nargs="?", default=argparse.SUPPRESS, metavar=name.upper(), help=_help(setting))
        groups[section].add_argument(f"--{name.replace('_', '-')}", **_flag(setting, _plain(kind)))


def from_options(config_class: type[Config], args: argparse.Namespace) -> Config:
    """Build the dataclass from parsed arguments; `UsageError` where it refuses a value."""
    try:
        return from_flat(config_class, {name: _value(setting.field, args) for name, setting in settings(config_class).items()})
    except ConfigError as error:
        raise UsageError(str(error)) from error


def to_flags(config: Any) -> list[str]:
    """Return the flags that make a command build this configuration: one for each setting that is not at its default."""
    flags = []
    known = settings(type(config))
    for name, value in to_flat(config).items():
        setting = known[name].field
        name = name.replace("_", "-")
        if value == setting.default:
            continue
        if isinstance(value, tuple):
            flags += [f"--{name}={each}" for each in value]
        elif setting.metadata.get("positional"):
            flags.append(str(value))
        elif isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        else:
            flags.append(f"--{name}={value}")
    return flags


def _value(setting: Field, args: argparse.Namespace) -> Any:
    value = getattr(args, setting.name)
    return tuple(value or ()) if isinstance(setting.default, tuple) else value


def _flag(setting: Field, kind: type) -> dict[str, Any]:
    flag: dict[str, Any] = {"dest": setting.name, "default": setting.default, "help": _help(setting)}
    if kind is bool:
        return {**flag, "action": argparse.BooleanOptionalAction}
    if get_origin(kind) is tuple:
        return {**flag, "action": "append", "default": None, "metavar": "TEXT"}
    convert: Callable[[str], Any] = parse_bytes if setting.name.endswith("_bytes") else kind
    choices = setting.metadata.get("choices")
    return {**flag, "type": convert, "choices": choices, "metavar": None if choices else _METAVARS.get(convert, "TEXT")}


_METAVARS: dict[Callable[[str], Any], str] = {int: "N", float: "X", parse_bytes: "SIZE"}


def _plain(kind: Any) -> type:
    """`int` for `int | None`."""
    return kind if get_origin(kind) is tuple else next((part for part in get_args(kind) if part is not type(None)), kind)


def _help(setting: Field) -> str:
    text = setting.metadata["help"].replace("%", "%%")
    if setting.default in (None, "", ()) or "default" in text:
        return text
    shown = {True: "on", False: "off"}[setting.default] if isinstance(setting.default, bool) else setting.default
    return f"{text} (default: {shown})"
