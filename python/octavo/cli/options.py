"""Command-line flags out of the configuration dataclasses: a field is a flag, its metadata the help.

`kv_cache_bytes: int | None` becomes `--kv-cache-bytes 4GiB`, `prefix_caching: bool` becomes `--prefix-caching / --no-prefix-caching`.
A flag that is not given is None, so that variables and the file of `--config` are asked before the default counts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import Any, TypeVar

from octavo.cli.parser import UsageError
from octavo.cli.setting_sources import add_config_file, read_config_file, values_of_environment
from octavo.cli.setting_values import converter, is_list, parse_bytes, plain_kind
from octavo.config import Setting, from_flat, settings, to_flat
from octavo.errors import ConfigError

__all__ = ["add_options", "from_options", "positive_int", "to_flags"]

Config = TypeVar("Config")


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
    add_config_file(parser)
    groups: dict[str, Any] = {}
    for name, each in settings(config_class).items():
        section, setting = each.section, each.field
        if section not in groups:
            groups[section] = parser.add_argument_group(f"{title}: {section}" if section else title)
        if positional and setting.metadata.get("positional"):
            parser.add_argument(name, nargs="?", default=argparse.SUPPRESS, metavar=name.upper(), help=_help(setting))
        groups[section].add_argument(f"--{name.replace('_', '-')}", **_flag(each))


def from_options(config_class: type[Config], args: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Config:
    """Build the dataclass from parsed arguments, variables and the file of `--config`; `UsageError` where one of them has a bad value."""
    known = settings(config_class)
    path = getattr(args, "config", None)
    values = read_config_file(path) if path is not None else {}
    values |= values_of_environment(known, environment)
    values |= {name: _value(each, args) for name, each in known.items() if getattr(args, name) is not None}
    try:
        return from_flat(config_class, {name: value for name, value in values.items() if name in known})
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


def _value(setting: Setting, args: argparse.Namespace) -> Any:
    value = getattr(args, setting.field.name)
    return tuple(value) if is_list(setting.kind) else value


def _flag(setting: Setting) -> dict[str, Any]:
    flag: dict[str, Any] = {"dest": setting.field.name, "default": None, "help": _help(setting.field)}
    if plain_kind(setting.kind) is bool:
        return {**flag, "action": argparse.BooleanOptionalAction}
    if is_list(setting.kind):
        return {**flag, "action": "append", "metavar": "TEXT"}
    convert: Callable[[str], Any] = converter(setting)
    choices = setting.field.metadata.get("choices")
    return {**flag, "type": convert, "choices": choices, "metavar": None if choices else _METAVARS.get(convert, "TEXT")}


_METAVARS: dict[Callable[[str], Any], str] = {int: "N", float: "X", parse_bytes: "SIZE"}


def _help(setting: Field) -> str:
    text = setting.metadata["help"].replace("%", "%%")
    if setting.default in (None, "", ()) or "default" in text:
        return text
    shown = {True: "on", False: "off"}[setting.default] if isinstance(setting.default, bool) else setting.default
    return f"{text} (default: {shown})"
