"""Values of settings from texts (flags, variables) and from YAML, by the type of the setting."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, get_args, get_origin

from octavo.config import Setting

__all__ = ["converter", "from_text", "from_yaml", "is_list", "parse_bytes", "plain_kind"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", re.IGNORECASE)
_TRUTHS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text; put it in quotes"}


def parse_bytes(text: str) -> int:
    """Return the bytes that `4GiB`, `512MiB`, `1.5g` or `1000` mean. Units without an i are powers of 1000."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write a number of bytes, or one such as 4GiB or 512MB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def plain_kind(kind: Any) -> Any:
    """`int` for `int | None`; a tuple type stays what it is."""
    return kind if is_list(kind) else next((part for part in get_args(kind) if part is not type(None)), kind)


def is_list(kind: Any) -> bool:
    """Whether a setting of this type may be given several times."""
    return get_origin(kind) is tuple


def converter(setting: Setting) -> Callable[[str], Any]:
    """What makes a value of one text: of one that is not a list."""
    kind = plain_kind(setting.kind)
    if kind is bool:
        return _truth
    return parse_bytes if setting.field.name.endswith("_bytes") else str if is_list(kind) else kind


def from_text(setting: Setting, text: str) -> Any:
    """Return the value that a variable's text means; items of a list stand between commas.

    Raises:
        ValueError: it means none.
    """
    convert = converter(setting)
    if is_list(setting.kind):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        value = convert(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from None
    except ValueError:
        raise ValueError(f"{text!r} is not {_NAMES[plain_kind(setting.kind)]}") from None
    return _chosen(setting, value)


def from_yaml(setting: Setting, value: Any) -> Any:
    """Return the setting's value for one that YAML has typed. Sizes may be texts with units; a single item stands for a list of one.

    Raises:
        ValueError: it is of another type.
    """
    kind = plain_kind(setting.kind)
    if is_list(kind):
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            raise ValueError(f"{value!r} is not a list of texts; put them in quotes")
        return tuple(items)
    if isinstance(value, str) and (kind is not str or converter(setting) is parse_bytes):
        if kind is int and converter(setting) is parse_bytes:
            return from_text(setting, value)
        raise ValueError(f"{value!r} is not {_NAMES[kind]}")
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:  # True is an int to isinstance
        raise ValueError(f"{value!r} is not {_NAMES[kind]}")
    return _chosen(setting, value)


def _chosen(setting: Setting, value: Any) -> Any:
    choices = setting.field.metadata.get("choices")
    if choices and value not in choices:
        raise ValueError(f"{value!r} must be one of: {', '.join(map(str, choices))}")
    return value


def _truth(text: str) -> bool:
    if text.strip().lower() not in _TRUTHS:
        raise ValueError
    return _TRUTHS[text.strip().lower()]
