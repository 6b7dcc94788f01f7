"""Where settings come from besides flags: variables of the environment, `OCTAVO_MAX_MODEL_LEN`, and the YAML file of `--config`.

A flag counts more than a variable, a variable more than the file, the file more than the default.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octavo.cli.parser import UsageError, suggestion
from octavo.cli.setting_values import from_text, from_yaml
from octavo.config import EngineConfig, ServerConfig, Setting, settings

__all__ = ["add_config_file", "read_config_file", "values_of_environment", "variable_of"]

_FLAG = "--config"
_OF_KUBERNETES = "tcp://"  # what OCTAVO_PORT holds in each pod beside a Service called octavo


def variable_of(name: str) -> str:
    """The variable that gives the setting `name`."""
    return f"OCTAVO_{name.upper()}"


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """Add the flag of the file, once."""
    if _FLAG not in parser._option_string_actions:
        text = "YAML file with any of these settings and those of octavo serve, named as their flags; flags and variables count more"
        parser.add_argument(_FLAG, default=None, metavar="FILE", help=text)


def values_of_environment(known: Mapping[str, Setting], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the variables that are set and not empty, by the name of their settings; keys are read elsewhere.

    Raises:
        UsageError: naming the variable.
    """
    values = {}
    for name, setting in known.items():
        text = environment.get(variable_of(name), "")
        if not text or name == "api_key" or (name == "port" and text.startswith(_OF_KUBERNETES)):
            continue
        try:
            values[name] = from_text(setting, text)
        except ValueError as error:
            raise UsageError(f"{variable_of(name)}: {error}") from None
    return values


def read_config_file(path: str) -> dict[str, Any]:
    """Return the values of a file by the name of their settings. Names may be written with dashes or underscores.

    Raises:
        UsageError: the file cannot be read, is no YAML mapping, or has a name or a value that is not known; names it.
    """
    known = settings(EngineConfig) | settings(ServerConfig)
    values: dict[str, Any] = {}
    for key, value in _mapping(path):
        name = str(key).replace("-", "_")
        if name not in known:
            near = suggestion(f"--{str(key).replace('_', '-')}", [f"--{each.replace('_', '-')}" for each in known])
            raise UsageError(f"{_FLAG} {path}: unknown key {str(key)[:80]!r}{near.replace('--', '')}")
        if name in values:
            raise UsageError(f"{_FLAG} {path}: {key} stands there twice")
        try:
            values[name] = None if value is None else from_yaml(known[name], value)
        except ValueError as error:
            raise UsageError(f"{_FLAG} {path}: {key}: {error}") from None
    return {name: value for name, value in values.items() if value is not None}


def _mapping(path: str) -> list[tuple[Any, Any]]:
    """Return the keys and values of the file in their order, doubles included."""
    import yaml

    try:
        text = Path(path).read_text()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{_FLAG} {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(f"{_FLAG} {path} is not a list of names and values, such as 'max-model-len: 8192'")
        return [(loader.construct_object(key, deep=True), loader.construct_object(value, deep=True)) for key, value in node.value]
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{_FLAG} {path} is not YAML: {' '.join(str(error).split())[:300]}") from None
